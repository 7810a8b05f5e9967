"""The promises of the contract, held over real gRPC, as a stranger's client would see them."""
