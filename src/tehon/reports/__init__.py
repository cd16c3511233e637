"""What runs look like side by side: pages and pictures made from their records. No torch."""
