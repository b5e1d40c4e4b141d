"""Result tables as a page shows them."""
