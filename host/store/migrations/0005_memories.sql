-- What the plugin of each subject is to be given with its next observation: the JSON text that it gave with the last one.
-- A daemon notes now and then that the subject is still configured (used_at), so that what is left of others can be removed.
CREATE TABLE memories (
    subject TEXT   PRIMARY KEY,
    body    TEXT   NOT NULL,
    used_at BIGINT NOT NULL
);
