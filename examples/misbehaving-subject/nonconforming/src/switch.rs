//! The one switch. It lies in the library's bytes, so that a copy with another word in it is another plugin: it is in force
//! before anything is configured, and nothing has to be built for it.

use std::sync::OnceLock;

const MARK: usize = "nonconforming-switch=".len();

/// The mark, then the name of the case that is to fail, then spaces.
#[used]
static SWITCH: [u8; 64] = *b"nonconforming-switch=none                                       ";

/// Whether this case is to fail.
pub fn is_on(case: &str) -> bool {
    static WORD: OnceLock<String> = OnceLock::new();
    let word = WORD.get_or_init(|| {
        // SAFETY: a static is there for good; volatile, because the compiler must not know its content.
        let bytes = unsafe { (&raw const SWITCH).read_volatile() };
        String::from_utf8_lossy(&bytes[MARK..]).trim().to_owned()
    });
    word == case
}
