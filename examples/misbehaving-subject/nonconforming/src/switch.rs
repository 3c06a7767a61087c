//! The switch. It is part of the library's bytes, so that a test can turn a copy into another plugin without building it.
//! It is active before the plugin is configured.

use std::sync::OnceLock;

const MARK: usize = "nonconforming-switch=".len();

/// A marker, then the name of the case that must fail, padded with spaces.
#[used]
static SWITCH: [u8; 64] = *b"nonconforming-switch=none                                       ";

/// Whether this case must fail.
pub fn is_on(case: &str) -> bool {
    static WORD: OnceLock<String> = OnceLock::new();
    let word = WORD.get_or_init(|| {
        // SAFETY: a static is always valid; volatile, so that the compiler does not assume its content.
        let bytes = unsafe { (&raw const SWITCH).read_volatile() };
        String::from_utf8_lossy(&bytes[MARK..]).trim().to_owned()
    });
    word == case
}
