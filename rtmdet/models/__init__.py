"""The network: CSPNeXt backbone, CSPPAFPN neck, RTMDet head, and the published sizes."""
