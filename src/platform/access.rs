//! Who owns a file or folder of Windows, and who else may write it.
//!
//! Owns the judgement of what owner and access list say, which is pure, and folders that only SYSTEM may write. `trusted` calls it for files that
//! decide who may do what, `service` for the folder of SYSTEM's settings and logs.
#![cfg_attr(
    windows,
    allow(
        unsafe_code,
        reason = "a folder with an access list has no safe interface; its use is proven"
    )
)]
#![cfg_attr(not(windows), allow(dead_code, reason = "elsewhere only its tests run"))]

use std::io;

/// Who may write what others must believe, beside this user: SYSTEM, administrators, and the installer of the system.
const TRUSTED: [&str; 3] = [
    "SY",
    "BA",
    "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464",
];
/// What an access list says of the owner itself, and of who makes something in a folder: nobody else.
const OF_OWNER: [&str; 2] = ["OW", "CO"];
/// Rights to write data or attributes, to delete, and to change owner or list: of files, of folders, and the general ones.
const WRITE: u32 =
    0x2 | 0x4 | 0x10 | 0x40 | 0x100 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0x4000_0000 | 0x1000_0000;
/// Rights to take away or replace what is in a folder, or the folder itself. To add to it is none of them: the root of a drive gives that to
/// everybody.
const REPLACE: u32 = 0x40 | 0x1_0000 | 0x4_0000 | 0x8_0000 | 0x1000_0000;
/// Rights by their names in the language of security descriptors.
const RIGHTS: [(&str, u32); 22] = [
    ("CC", 0x1),
    ("DC", 0x2),
    ("LC", 0x4),
    ("SW", 0x8),
    ("RP", 0x10),
    ("WP", 0x20),
    ("DT", 0x40),
    ("LO", 0x80),
    ("CR", 0x100),
    ("SD", 0x1_0000),
    ("RC", 0x2_0000),
    ("WD", 0x4_0000),
    ("WO", 0x8_0000),
    ("GA", 0x1000_0000),
    ("GX", 0x2000_0000),
    ("GW", 0x4000_0000),
    ("GR", 0x8000_0000),
    ("FA", 0x1F_01FF),
    ("FR", 0x12_0089),
    ("FW", 0x12_0116),
    ("FX", 0x12_00A0),
    ("KR", 0x2_0019),
];

/// Whether nobody but trusted accounts and `user` owns what the text describes, and has any of these rights. The text is as the system makes it:
/// `O:…G:…D:…`.
fn judge_text(text: &str, user: &str, refused: u32) -> io::Result<()> {
    let wrong = |text: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    let trusted = |account: &str| account == user || TRUSTED.contains(&account);
    let (head, list) = match text.split_once("D:") {
        Some((head, list)) => (head, list),
        None => (text, "NO_ACCESS_CONTROL"),
    };
    let owner = head.strip_prefix("O:").unwrap_or_default();
    let owner = owner.split_once("G:").map_or(owner, |(owner, _)| owner);
    if !trusted(owner) {
        return wrong(format!(
            "it belongs to {owner}; it must belong to this user, SYSTEM or the administrators"
        ));
    }
    if list.contains("NO_ACCESS_CONTROL") {
        return wrong("it has no access list, so that everybody can write it".into());
    }
    for entry in list.split('(').skip(1) {
        let entry = entry.split(')').next().unwrap_or_default();
        let mut parts = entry.split(';');
        let (kind, flags, rights) = (parts.next(), parts.next().unwrap_or_default(), parts.next());
        let account = parts.nth(2).unwrap_or_default();
        // What is denied gives nothing, and what only new files inherit is not about this one. Kinds that are not known count as giving.
        let gives = !matches!(kind, Some("D" | "OD" | "XD"));
        let here = !flags.as_bytes().chunks(2).any(|flag| flag == b"IO");
        if gives
            && here
            && has_any(rights.unwrap_or_default(), refused)
            && !trusted(account)
            && !OF_OWNER.contains(&account)
        {
            let can = if refused == WRITE {
                "write it"
            } else {
                "replace it, or what is in it"
            };
            let account = spoken(account);
            return wrong(format!("{account} can {can}; take that out of its access list"));
        }
    }
    Ok(())
}

/// The account as people know it, where it is one of those that an access list of anybody's folder has.
fn spoken(account: &str) -> &str {
    match account {
        "WD" => "Everyone (WD)",
        "BU" => "Users (BU)",
        "AU" => "Authenticated Users (AU)",
        "IU" => "INTERACTIVE (IU)",
        other => other,
    }
}

/// Whether rights, as names or as a number, have some of these; what cannot be read has.
fn has_any(rights: &str, of: u32) -> bool {
    let bits = match rights.strip_prefix("0x") {
        Some(number) => u32::from_str_radix(number, 16).ok(),
        None => rights.as_bytes().chunks(2).try_fold(0, |sum, name| {
            let found = RIGHTS.iter().find(|(known, _)| known.as_bytes() == name);
            found.map(|(_, bits)| sum | bits)
        }),
    };
    bits.is_none_or(|bits| bits & of != 0)
}

#[cfg(all(windows, test))]
pub(super) use system::create_folder;
#[cfg(windows)]
pub(super) use system::{is_system, judge, judge_above, judge_itself, make_folder, open_folder};

#[cfg(windows)]
mod system {
    use super::{REPLACE, WRITE, judge_text};
    use crate::platform::security::Descriptor;
    use crate::transport::current_sid;
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::windows::fs::OpenOptionsExt;
    use std::os::windows::io::AsHandle;
    use std::path::Path;
    use windows_sys::Win32::Foundation::ERROR_ALREADY_EXISTS;
    use windows_sys::Win32::Security::Authorization::SE_FILE_OBJECT;
    use windows_sys::Win32::Storage::FileSystem::{
        CreateDirectoryW, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    };

    const SYSTEM: &str = "S-1-5-18";
    /// Everything for SYSTEM and administrators, also of what is made in it later, and nothing for anybody else.
    const OURS: &str = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

    /// Whether this process runs as SYSTEM.
    pub(in crate::platform) fn is_system() -> io::Result<bool> {
        Ok(current_sid()? == SYSTEM)
    }

    /// Whether nobody but trusted accounts and this user owns the open file or folder, and may write it.
    pub(in crate::platform) fn judge(file: &File) -> io::Result<()> {
        judge_rights(file, WRITE)
    }

    fn judge_rights(file: &File, refused: u32) -> io::Result<()> {
        let user = current_sid()?;
        // As the system writes it: some accounts have names of two letters.
        let user = Descriptor::of_text(&format!("O:{user}"))?.text()?;
        let user = user.strip_prefix("O:").unwrap_or(&user);
        judge_text(&text_of_file(file)?, user, refused)
    }

    /// Whether nobody else can put another folder in the place of this one, or of one above it: as it is named, and where it lies.
    pub(in crate::platform) fn judge_above(folder: &Path) -> io::Result<()> {
        let lies = std::fs::canonicalize(folder)?;
        for folder in folder.ancestors().skip(1).chain(lies.ancestors().skip(1)) {
            let judged = open_folder(folder, true).and_then(|folder| judge_rights(&folder, REPLACE));
            judged.map_err(|error| {
                io::Error::new(error.kind(), format!("above it {}: {error}", folder.display()))
            })?;
        }
        Ok(())
    }

    /// Makes a folder that only SYSTEM and administrators may write. One that is there must be such, and no link.
    pub(in crate::platform) fn make_folder(path: &Path) -> io::Result<()> {
        create_folder(path, OURS)?;
        judge_itself(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    /// A folder with this access list, unless there is one.
    pub(in crate::platform) fn create_folder(path: &Path, list: &str) -> io::Result<()> {
        let descriptor = Descriptor::of_text(list)?;
        let attributes = descriptor.attributes();
        let name: Vec<u16> = std::os::windows::ffi::OsStrExt::encode_wide(path.as_os_str())
            .chain([0])
            .collect();
        // SAFETY: the name ends with zero; the attributes and their descriptor live until the end of this function.
        if unsafe { CreateDirectoryW(name.as_ptr(), &raw const attributes) } == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_ALREADY_EXISTS as i32) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Judges the folder that is at this very path. A link is refused: whoever made it can turn it when it was looked at.
    pub(in crate::platform) fn judge_itself(path: &Path) -> io::Result<()> {
        let folder = open_folder(path, false)?;
        if !folder.metadata()?.is_dir() {
            let error = "it is a link, or no folder";
            return Err(io::Error::new(io::ErrorKind::NotADirectory, error));
        }
        judge(&folder)
    }

    /// A folder to be judged.
    pub(in crate::platform) fn open_folder(path: &Path, follow: bool) -> io::Result<File> {
        let link = if follow { 0 } else { FILE_FLAG_OPEN_REPARSE_POINT };
        OpenOptions::new()
            .read(true)
            .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | link)
            .open(path)
    }

    fn text_of_file(file: &File) -> io::Result<String> {
        Descriptor::of_object(file.as_handle(), SE_FILE_OBJECT)?.text()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_this_user_makes_in_its_own_folder_is_its_own() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("policy.toml");
            std::fs::write(&path, "text").unwrap();
            let file = File::open(&path).unwrap();
            judge(&file).unwrap_or_else(|error| panic!("{error}: {}", text_of_file(&file).unwrap()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the root of a drive gives everybody replaces nothing.
    #[test]
    fn above_it_nobody_else_may_replace_anything() {
        const INSTALLER: &str = TRUSTED[2];
        for (text, good) in [
            (
                format!(
                    "O:{INSTALLER}G:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;AU)(A;OICIIO;SDGXGWGR;;;AU)"
                ),
                true,
            ),
            ("O:BAD:(A;;FA;;;BA)(A;OICI;0x1301bf;;;AU)".into(), false),
            ("O:BAD:(A;;FA;;;BA)(A;;DT;;;BU)".into(), false),
            ("O:S-1-5-21-1-2-3-1002D:(A;;FA;;;BA)".into(), false),
        ] {
            let judged = judge_text(&text, "S-1-5-21-1-2-3-1001", REPLACE);
            assert_eq!(judged.is_ok(), good, "{text}: {judged:?}");
        }
    }

    #[test]
    fn only_what_trusted_accounts_alone_can_write_is_trusted() {
        const ME: &str = "S-1-5-21-1-2-3-1001";
        for (text, part) in [
            ("O:SYG:SYD:P(A;;FA;;;SY)(A;;FR;;;WD)", None),
            ("O:BAG:SYD:AI(A;OICIID;FA;;;SY)(A;ID;0x1200a9;;;BU)", None),
            (
                "O:S-1-5-21-1-2-3-1001G:BAD:(A;;FA;;;S-1-5-21-1-2-3-1001)(A;;FA;;;OW)",
                None,
            ),
            ("O:BAD:(D;;FA;;;WD)(A;;FRFX;;;WD)(A;OICIIO;GA;;;CO)", None),
            // What users may make in new folders is not about this file.
            ("O:BAD:(A;CIIO;DCLCRPCR;;;BU)", None),
            ("O:BAD:(A;CI;DCLCRPCR;;;BU)", Some("Users (BU) can write it")),
            (
                "O:S-1-5-21-1-2-3-1002G:BAD:(A;;FA;;;SY)",
                Some("belongs to S-1-5-21-1-2-3-1002"),
            ),
            ("O:BAD:(A;;FA;;;S-1-5-21-1-2-3-1002)", Some("can write it")),
            ("O:BAD:(A;;0x2;;;WD)", Some("Everyone (WD) can write it")),
            ("O:BAD:(A;;??;;;WD)", Some("Everyone (WD) can write it")),
            ("O:BAD:NO_ACCESS_CONTROL", Some("everybody")),
            ("O:BA", Some("everybody")),
            ("", Some("belongs to ;")),
        ] {
            let said = judge_text(text, ME, WRITE).map_err(|error| error.to_string());
            match part {
                None => assert_eq!(said, Ok(()), "{text}"),
                Some(part) => assert!(
                    said.as_ref().is_err_and(|said| said.contains(part)),
                    "{text}: {said:?}"
                ),
            }
        }
    }
}
