//! The state of the example `bidirectional`.

#[path = "../../examples/bidirectional/room.rs"]
mod room;

use room::{MEMBERS_MAX, NAME_MAX, Room, RoomError};

#[test]
fn a_name_is_one_members_until_it_leaves() {
    let mut room = Room::default();
    assert_eq!(room.enter(1, "ada", 'a'), Ok(()));
    assert_eq!(room.enter(2, "ada", 'b'), Err(RoomError::NameTaken("ada".into())));
    assert_eq!(room.name(2), Err(RoomError::NotRegistered));
    assert_eq!(room.enter(2, "bob", 'b'), Ok(()));
    assert_eq!(room.others(1), [("bob".to_owned(), 'b')]);
    assert_eq!(room.enter(1, "eve", 'a'), Ok(()), "another name for the same");
    assert_eq!(room.name(1), Ok("eve".to_owned()));
    assert_eq!(room.enter(2, "ada", 'b'), Ok(()), "the old name is free");
    assert_eq!((room.leave(1), room.leave(1)), (Some("eve".to_owned()), None));
    assert_eq!(room.everybody(), [("ada".to_owned(), 'b')]);
}

#[test]
fn the_room_keeps_its_bounds() {
    let mut room = Room::default();
    for name in ["", "a\nb", &"n".repeat(NAME_MAX + 1)] {
        assert_eq!(room.enter(0, name, ()), Err(RoomError::Name(name.to_owned())));
    }
    for id in 0..MEMBERS_MAX as u64 {
        room.enter(id, &id.to_string(), ()).unwrap();
    }
    assert_eq!(room.enter(u64::MAX, "one more", ()), Err(RoomError::Full));
    assert_eq!(room.enter(0, "another", ()), Ok(()));
}
