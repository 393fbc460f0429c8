"""The leaderboard of mixed search."""
