"""The router: a policy that says, chunk by chunk, which expert changes the model, by how much and for how long."""
