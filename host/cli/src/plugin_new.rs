//! `operator plugins new`: a plugin folder that builds, and shows a verdict at first try.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Exit, Failure, Output};

/// Every file of the folder: where it goes, and what it holds before names are filled in.
const TEMPLATE: [(&str, &str); 10] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    (
        "tests/conformance.rs",
        include_str!("template/conformance.rs.in"),
    ),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", include_str!("template/gitignore")),
    (
        ".github/workflows/plugin.yml",
        include_str!("template/ci.yml"),
    ),
    (
        "conformance/config.toml",
        include_str!("template/conformance/config.toml.in"),
    ),
    (
        "conformance/healthy/written.json",
        include_str!("template/conformance/healthy/written.json"),
    ),
    (
        "conformance/violations/fresh.json",
        include_str!("template/conformance/violations/fresh.json"),
    ),
    (
        "conformance/README.md",
        include_str!("template/conformance/README.md"),
    ),
];

/// The SDK in the sources that this operator was built from.
const SDK_OF_CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugin-api");
const LONGEST_NAME: usize = 40;

#[derive(Debug, Args)]
pub(super) struct New {
    /// Lower case letters, digits and `-`, such as my-queue
    name: String,
    /// The folder to create [default: the name, in this directory]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Folder of operator-plugin-api [default: in the sources of this operator, else version 1 of the registry]
    #[arg(long, value_name = "DIR")]
    api: Option<PathBuf>,
}

impl New {
    pub(super) fn run(&self, out: &Output) -> Result<Exit, Failure> {
        check_name(&self.name)?;
        let api = dependency(self.api.as_deref())?;
        let folder = self
            .path
            .clone()
            .unwrap_or_else(|| self.name.clone().into());
        check_free(&folder)?;
        for (path, text) in TEMPLATE {
            let path = folder.join(path);
            write(&path, &filled(text, &self.name, &api)).map_err(|error| {
                input(format!("{}: cannot be written: {error}", path.display()))
            })?;
        }
        let library = format!(
            "target/release/lib{}.{}",
            self.name.replace('-', "_"),
            std::env::consts::DLL_EXTENSION,
        );
        out.text(&format!(
            "{} is there; next:\n  cd {}\n  cargo build --release\n  operator conformance {library}\n  operator --plugin {library} check\n",
            folder.display(),
            folder.display(),
        ))?;
        Ok(Exit::Fine)
    }
}

fn input(what: String) -> Failure {
    Failure::bad_input(what)
}

fn check_name(name: &str) -> Result<(), Failure> {
    let fixed = fixed(name);
    if fixed == name {
        return Ok(());
    }
    let fix = if fixed.is_empty() {
        "write it like my-queue".to_owned()
    } else {
        format!("did you mean `{fixed}`?")
    };
    Err(input(format!(
        "{name:?} is not a name for a plugin: at most {LONGEST_NAME} lower case letters, digits and `-`, a letter first; {fix}"
    )))
}

/// The nearest name that is one: the name itself if it is.
fn fixed(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    let joined = words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    let from_letter = joined.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let cut: String = from_letter.chars().take(LONGEST_NAME).collect();
    cut.trim_end_matches('-').to_owned()
}

/// The dependency on the SDK in `Cargo.toml`.
fn dependency(api: Option<&Path>) -> Result<String, Failure> {
    let of_checkout = Path::new(SDK_OF_CHECKOUT);
    let Some(path) = api.or_else(|| of_checkout.exists().then_some(of_checkout)) else {
        return Ok("\"1\"".to_owned());
    };
    let path = path
        .canonicalize()
        .ok()
        .filter(|path| path.join("Cargo.toml").is_file())
        .ok_or_else(|| {
            input(format!(
                "--api {}: there is no crate; name the folder of operator-plugin-api",
                path.display()
            ))
        })?;
    Ok(format!("{{ path = {:?} }}", path.display().to_string()))
}

fn check_free(folder: &Path) -> Result<(), Failure> {
    let taken = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            return Err(input(format!(
                "{}: {error}; give another --path",
                folder.display()
            )));
        }
    };
    if taken {
        let folder = folder.display();
        return Err(input(format!(
            "{folder} is not empty, and nothing was written; give another --path"
        )));
    }
    Ok(())
}

fn filled(text: &str, name: &str, api: &str) -> String {
    let lib = name.replace('-', "_");
    text.replace("{{name}}", name)
        .replace("{{lib}}", &lib)
        .replace("{{VARIABLE}}", &lib.to_uppercase())
        .replace("{{api}}", api)
}

/// Never over a file that is there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create_new(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_name_is_fixed_to_the_nearest_valid_one() {
        for (name, good) in [
            ("demo", "demo"),
            ("my-queue2", "my-queue2"),
            ("My_Queue", "my-queue"),
            ("../etc", "etc"),
            ("2fast", "fast"),
            ("--", ""),
        ] {
            assert_eq!(fixed(name), good);
        }
    }
}
