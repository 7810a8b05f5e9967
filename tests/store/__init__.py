"""The program that works on a store's file."""
