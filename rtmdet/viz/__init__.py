"""Looking inside the network: forward hooks, feature maps, Box AM; and plots of runs."""
