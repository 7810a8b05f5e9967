"""The broker of many servers that share their rooms over NATS JetStream."""
