-- Tables of the test database; bem is a schema here.
CREATE SCHEMA IF NOT EXISTS bem;

CREATE TABLE IF NOT EXISTS bem.models (
    id SERIAL PRIMARY KEY,
    name TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS bem.model_checkpoints (
    id SERIAL PRIMARY KEY,
    model_id INTEGER REFERENCES bem.models (id),
    step INTEGER NOT NULL
);

CREATE INDEX IF NOT EXISTS checkpoints_by_model ON bem.model_checkpoints (model_id);
GRANT ALL ON bem.training TO tester;
