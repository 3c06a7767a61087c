-- What the plugin of each subject said of itself when it was last started: a person reads the runbooks in it also while the
-- plugin is broken, and a command that knows it already starts one process less.
CREATE TABLE descriptors (
    subject TEXT PRIMARY KEY,
    sha256  TEXT NOT NULL,
    body    TEXT NOT NULL
);
