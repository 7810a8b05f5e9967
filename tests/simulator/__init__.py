"""Many servers and one room's log in virtual time: the real ``RoomLog`` against a model of JetStream, with faults."""
