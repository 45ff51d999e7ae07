"""What a diffusion model draws, who judges it, and what an attacker still finds in it."""
