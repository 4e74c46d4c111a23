//! What of photos stays in memory.

use super::*;

/// Of photos that are cut for training, each set keeps what is read of it, and nothing else.
#[test]
fn a_set_keeps_what_is_read_of_it() {
    // Squares of 120,000 bytes, those to cut from of 480,000: eight of the first fill the memory.
    let options = ["--cache", "1", "--crop-scale", "0.25,1", "--val-share", "0.5"];
    for own_val in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let [photos, val] = ["photos", "others"].map(|name| folder.path().join(name));
        let mut all = options.to_vec();
        all.extend(["--data", photos.to_str().unwrap()]);
        make_photos(&photos, 0..if own_val { 2 } else { 4 });
        if own_val {
            make_photos(&val, 2..4);
            all.retain(|option| !["--val-share", "0.5"].contains(option));
            all.extend(["--val", val.to_str().unwrap()]);
        }
        let mut arguments = arguments(&all);
        arguments.model.size = 200;
        let source = Source::of(&arguments);
        let Data { train, val: judging, .. } = source.divide(source.scan().unwrap()).unwrap();
        assert_eq!([train.len(), judging.len()], [4; 2]);
        let cut = train.to_cut(0).unwrap().into_owned();
        assert_eq!(cut.len(), 400 * 400 * 3);
        let pool = source.pool(source.scan().unwrap(), 0).unwrap().images;
        pool.to_cut(0).unwrap();

        folder.close().unwrap();
        assert!((0..4).all(|index| judging.pixels(index).is_ok()), "what judges is kept whole");
        assert_eq!(*train.to_cut(0).unwrap(), cut);
        assert!((0..4).all(|index| train.pixels(index).is_err()), "nobody asks for these");
        // A study learns from what it judges by.
        assert_eq!([pool.pixels(0).is_ok(), pool.to_cut(0).is_ok()], [true; 2]);
    }
}
