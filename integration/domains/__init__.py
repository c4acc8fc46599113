"""Domain XML: completing it, defining it, reading where devices sit."""
