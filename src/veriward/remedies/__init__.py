"""Whatever makes a new Subject of an old one: private training, and later hardening and federated training."""
