use super::*;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(lock(&self.0).clone()).unwrap()
    }
}

fn output() -> (Output, Shared, Shared) {
    let (out, err) = (Shared::default(), Shared::default());
    (Output::new(Box::new(out.clone()), Box::new(err.clone())), out, err)
}

#[test]
fn lines_of_two_instances_do_not_mix() {
    let (output, out, err) = output();
    let (one, one_err) = output.instance("c", Writes::Lines, None);
    let (two, _) = output.instance("c", Writes::Lines, None);
    one.0.write(b"a");
    two.0.write(b"b\nc");
    one.0.write(b"a\n");
    one_err.0.write(b"oops");
    drop((one, one_err, two));
    assert!(output.flush(Duration::from_secs(5)));
    assert_eq!(out.text(), "b\naa\nc\n");
    assert_eq!(err.text(), "oops\n");
}

/// Lines that the pipe takes at once, lines that wait for it, and lines afterwards.
#[test]
fn lines_for_a_pipe_keep_their_order_whether_it_has_room_or_not() {
    use std::io::{BufRead as _, BufReader};
    let (reader, writer) = std::io::pipe().unwrap();
    let sink = Sink::of_stream("test", writer);
    let write = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            sink.push(format!("{number:0>100}\n").as_bytes());
        }
    };
    write(0..2000);
    assert!(sink.waiting() > 0, "more than a pipe takes");
    let mut lines = BufReader::new(reader).lines();
    let mut expect = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            assert_eq!(lines.next().unwrap().unwrap(), format!("{number:0>100}"));
        }
    };
    expect(0..1000);
    write(2000..2100);
    expect(1000..2100);
    write(2100..2110);
    expect(2100..2110);
}

#[test]
fn a_very_long_line_is_broken() {
    let (output, out, _) = output();
    let (one, _) = output.instance("c", Writes::Lines, None);
    one.0.write(&vec![b'x'; LONGEST_LINE + 1]);
    drop(one);
    assert!(output.flush(Duration::from_secs(5)));
    let lengths: Vec<_> = out.text().lines().map(str::len).collect();
    assert_eq!(lengths, [LONGEST_LINE, 1]);
}

#[tokio::test]
async fn the_bytes_of_a_program_go_on_as_they_are() {
    let (output, out, _) = output();
    let (mut one, _) = output.instance("c", Writes::Bytes, None);
    let long = vec![b'x'; LONGEST_LINE + 1];
    for piece in [b"a\n\0b".as_slice(), &long, b"no end"] {
        one.ready().await;
        one.write(Bytes::copy_from_slice(piece)).unwrap();
    }
    drop(one);
    output.written().await;
    assert_eq!(out.text().into_bytes(), [b"a\n\0b".as_slice(), &long, b"no end"].concat());
}

/// A writer that waits until it is let go.
struct Blocked(std::sync::mpsc::Receiver<()>, Shared);

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Ends for good when the other side is gone.
        let _ = self.0.recv();
        self.1.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn output_that_nobody_reads_is_bounded_and_counted() {
    let (let_go, gate) = std::sync::mpsc::channel();
    let shared = Shared::default();
    let blocked = Blocked(gate, shared.clone());
    let output = Output::new(Box::new(blocked), Box::new(std::io::sink()));
    let (mut guest, _) = output.instance("c", Writes::Lines, None);
    let line = Bytes::from([vec![b'x'; 1023], vec![b'\n']].concat());
    for _ in 0..4096 {
        guest.ready().await;
        guest.write(line.clone()).unwrap();
    }
    assert!(guest.0.sink.waiting() <= QUEUE);
    assert!(!output.flush(Duration::ZERO));
    drop(let_go);
    assert!(output.flush(Duration::from_secs(5)));
    guest.write(Bytes::from_static(b"after\n")).unwrap();
    assert!(output.flush(Duration::from_secs(5)));
    // In the place of what is missing.
    let text = shared.text();
    assert!(text.ends_with("nobody read them\nafter\n"), "{}", text.len());
    // The writer may have reported some before it got stuck.
    let dropped = text
        .lines()
        .filter_map(|line| {
            line.split_once(" bytes of output were dropped")?.0.parse::<usize>().ok()
        })
        .sum::<usize>();
    assert_eq!(dropped, 3 * QUEUE);
}

#[tokio::test(start_paused = true)]
async fn a_program_waits_for_its_reader_and_loses_nothing() {
    let (let_go, gate) = std::sync::mpsc::channel();
    let shared = Shared::default();
    let blocked = Blocked(gate, shared.clone());
    let output = Output::new(Box::new(blocked), Box::new(std::io::sink()));
    let (mut guest, _) = output.instance("c", Writes::Bytes, None);
    let piece = Bytes::from(vec![b'x'; 1024]);
    for _ in 0..QUEUE / piece.len() {
        guest.ready().await;
        guest.write(piece.clone()).unwrap();
    }
    let waits = tokio::time::timeout(100 * PATIENCE, guest.ready()).await;
    assert!(waits.is_err(), "it does not wait");
    assert!(!output.flush(Duration::ZERO));
    drop(let_go);
    guest.ready().await;
    guest.write(piece).unwrap();
    output.written().await;
    assert_eq!(shared.text().len(), QUEUE + 1024);
}

#[test]
fn lines_are_copied_to_files_of_their_component_that_its_first_line_makes() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str| fs_err::read_to_string(folder.path().join(name)).ok();
    let (output, out, err) = output();
    let output = output.copied_to(folder.path().to_owned());
    let (one, _) = output.instance("one", Writes::Lines, None);
    let (_, two) = output.instance("two", Writes::Lines, None);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    one.0.write(b"a line\nand");
    two.0.write(b"an error\n");
    drop((one, two));
    assert!(output.flush(Duration::from_secs(5)));
    assert_eq!(written("one_stdout.txt").unwrap(), "a line\nand\n");
    assert_eq!(written("two_stderr.txt").unwrap(), "an error\n");
    assert_eq!((out.text().as_str(), err.text().as_str()), ("a line\nand\n", "an error\n"));
    assert_eq!((written("one_stderr.txt"), written("two_stdout.txt")), (None, None));
}

#[test]
fn a_file_that_was_there_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one_stdout.txt");
    fs_err::write(&file, "before\n").unwrap();
    let output = output().0.copied_to(folder.path().to_owned());
    output.instance("one", Writes::Lines, None).0.0.write(b"now\n");
    assert!(output.flush(Duration::from_secs(5)));
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "before\nnow\n");
}
