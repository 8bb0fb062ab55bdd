"""What holds for every optimizer, driver and dtype."""
