"""What a configuration may say, checked before torch is imported."""
