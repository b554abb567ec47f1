//! Where tokens lie: one file for each, named after whom it proves.
//!
//! Owns the folder, the names of the files and making one; `platform::secret` owns how they are opened, the broker what a
//! token is good for. Called by the daemon, and by `rob`
//! for the file that its command line names.

use crate::actors::tokens::Tokens;
use crate::message::Token;
use crate::platform::plain::device_in;
use crate::platform::{folders, secret};
use crate::policy::check_name;
use std::io;
use std::path::{Path, PathBuf};

/// What the file of a token ends with; before it stands the name.
const ENDING: &str = ".token";
/// Whom the token in the user's run-time directory proves.
pub const OWNER: &str = "owner";
/// Most tokens that are read; each is compared with whatever a peer shows.
const TOKENS_MAX: usize = 1_024;
/// The largest token file, in bytes.
const FILE_MAX: usize = 256;

/// Where the daemon finds tokens when nobody says where: `tokens` in the user's folder of settings.
#[must_use]
pub fn usual_folder() -> Option<PathBuf> {
    folders::settings("ipc-broker")
        .pop()
        .map(|folder| folder.join("tokens"))
}

/// Reads every `NAME.token` of the folder, and the token of the run-time directory as that of [`OWNER`]. Neither has to
/// be there.
///
/// # Errors
/// The folder can be written by somebody else, or the first file that is not a token which only this user knows. None of them is believed then.
pub fn read(folder: Option<&Path>, run_time: Option<&Path>) -> Result<Tokens, String> {
    let mut tokens = Tokens::new();
    if let Some(path) = run_time.filter(|path| path.symlink_metadata().is_ok()) {
        tokens.insert(OWNER, read_file(path)?);
    }
    let Some(folder) = folder else { return Ok(tokens) };
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    match secret::check_folder(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(tokens),
        Err(error) => return Err(failed(error)),
    }
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let Some(name) = file.strip_suffix(ENDING).filter(|_| !file.starts_with('.')) else {
            continue;
        };
        check_name(name).map_err(|error| format!("{}: {error}", path.display()))?;
        tokens.insert(name, read_file(&path)?);
        if tokens.len() > TOKENS_MAX {
            return Err(format!(
                "{}: holds more than {TOKENS_MAX} tokens",
                folder.display()
            ));
        }
    }
    Ok(tokens)
}

/// Reads the token of one file.
///
/// # Errors
/// Which file, and why it is not a token that only this user knows.
pub fn read_file(path: &Path) -> Result<Token, String> {
    let content = secret::read(path, FILE_MAX).map_err(|error| error.to_string())?;
    Token::parse(&content).map_err(|error| format!("{}: {error}", path.display()))
}

/// Makes a new token that proves `name` and returns the path of its file, which only this user can read.
///
/// # Errors
/// The name is none that a principal or a file can have, the folder can be written by somebody else, the system has no random bytes, or the file is there already: a token is never
/// overwritten.
pub fn create(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let wrong = |why: &dyn std::fmt::Display| Err(format!("{name:?} cannot be the name of a token: {why}"));
    if let Err(error) = check_name(name) {
        return wrong(&error);
    }
    // The rest of the alphabet that a file cannot have in its name; under Windows a colon names a stream in it.
    if name.starts_with('.') || name.contains(['/', ':']) {
        return wrong(&"it becomes a file's name, so no slash, no colon and no dot in front");
    }
    if let Some(device) = device_in(name) {
        return wrong(&format_args!(
            "it becomes a file's name, and under Windows {device} is a device; choose another one"
        ));
    }
    secret::create_folder(folder)
        .and_then(|()| secret::check_folder(folder))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    create_file(folder.join(format!("{name}{ENDING}")))
}

/// The same at a path of its own.
///
/// # Errors
/// As for [`create`].
pub fn create_file(path: PathBuf) -> Result<PathBuf, String> {
    let mut random = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut_slice()).map_err(|error| format!("no random bytes: {error}"))?;
    let made = path
        .parent()
        .map_or(Ok(()), secret::create_folder)
        .and_then(|()| secret::create(&path, &Token::new(*random).to_file()));
    match made {
        Ok(()) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(format!(
            "{} is there already and was left alone; remove it first to make a new one",
            path.display()
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_found_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        assert!(
            read(Some(&tokens), None).unwrap().is_empty(),
            "no folder, no tokens"
        );
        let made = create(&tokens, "thermometer").unwrap();
        assert_eq!(made, tokens.join("thermometer.token"));
        let owner = create_file(folder.path().join("ipc_broker.token")).unwrap();
        std::fs::write(tokens.join("README"), "not a token").unwrap();
        let found = read(Some(&tokens), Some(&owner)).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found.owner(&read_file(&made).unwrap()), Some("thermometer"));
        assert_eq!(found.owner(&read_file(&owner).unwrap()), Some(OWNER));
        assert!(create(&tokens, "thermometer").unwrap_err().contains("left alone"));
        for wrong in ["", "../x", "a/b", ".hidden"] {
            assert!(create(&tokens, wrong).is_err(), "{wrong:?}");
        }
        assert!(create(&tokens, "a.b-c_d@e+f").is_ok());
    }

    #[test]
    #[cfg_attr(windows, ignore = "its wrong file name cannot be made there at all")]
    fn a_token_has_the_name_of_a_principal() {
        let folder = tempfile::tempdir().unwrap();
        for wrong in ["*", "a b", "a\nb", "lämp", "a\\b"] {
            let error = create(folder.path(), wrong).unwrap_err();
            assert!(error.contains("a-z A-Z 0-9 . _ - @ : / +"), "{error}");
        }
        for device in ["con", "NUL.x", "com1"] {
            let error = create(folder.path(), device).unwrap_err();
            assert!(error.contains("is a device"), "{error}");
        }
        let made = create(folder.path(), "good").unwrap();
        std::fs::rename(made, folder.path().join("go?d.token")).unwrap();
        let error = read(Some(folder.path()), None).unwrap_err();
        assert!(
            error.contains("go?d.token") && error.contains("a-z A-Z 0-9") && error.contains("'?'"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_write_holds_no_tokens() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), "good").unwrap();
        let mode = |mode| std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
        for wide in [0o770, 0o702, 0o1777] {
            mode(wide);
            for error in [
                read(Some(folder.path()), None).unwrap_err(),
                create(folder.path(), "other").unwrap_err(),
            ] {
                assert!(error.contains(&format!("{wide:04o}")), "{error}");
            }
        }
        mode(0o755);
        assert_eq!(read(Some(folder.path()), None).unwrap().len(), 1);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(read(Some(&link), None).is_err());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(folder.path(), Some(65_534), None).unwrap();
            let error = read(Some(folder.path()), None).unwrap_err();
            assert!(error.contains("uid 65534"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn one_bad_file_and_none_is_believed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), "good").unwrap();
        let other = create(folder.path(), "other").unwrap();
        std::fs::set_permissions(&other, PermissionsExt::from_mode(0o644)).unwrap();
        let error = read(Some(folder.path()), None).unwrap_err();
        assert!(error.contains("other.token") && error.contains("0644"), "{error}");
        std::fs::remove_file(&other).unwrap();
        secret::create(&other, b"0123").unwrap();
        let error = read(Some(folder.path()), None).unwrap_err();
        assert!(
            error.contains("other.token") && !error.contains("0123"),
            "{error}"
        );
    }
}
