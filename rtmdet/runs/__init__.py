"""What one training run is put together from: data, first weights, settings, time, checks, folder."""
