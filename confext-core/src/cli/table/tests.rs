use super::*;

const COLUMNS: [Column; 4] = [
    Column::new("STATE").before("  ").piped(6, " "),
    Column::new("SIZE").right().piped(5, "  "),
    Column::new("PATH").cut(),
    Column::new("WHY").before(": ").wrap(),
];

fn written(paper: Paper, work: impl FnOnce(&mut Table, &mut Vec<u8>)) -> String {
    let (mut table, mut out) = (Table::new(paper, COLUMNS), Vec::new());
    work(&mut table, &mut out);
    table.end(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn rows(paper: Paper) -> String {
    written(paper, |table, out| {
        let good = Cell::coloured("\x1b[32m", "good");
        table.row([good, Cell::new(7), "etc/app.conf".into(), "".into()], out).unwrap();
        let why = "it is not what it was";
        table.row(["bad".into(), Cell::new(12_345_678), "etc/grün/界.conf".into(), why.into()], out).unwrap();
        table.note("      ", "look at it", out).unwrap();
    })
}

#[test]
fn a_pipe_has_no_header_and_nothing_is_cut() {
    let expected = "  \x1b[32mgood  \x1b[0m     7  etc/app.conf\n\
                    \x20 bad    12345678  etc/grün/界.conf: it is not what it was\n\
                    \x20     look at it\n";
    assert_eq!(rows(Paper::Pipe), expected);
    assert_eq!(written(Paper::Pipe, |_, _| {}), "");
}

#[test]
fn a_terminal_has_columns_under_a_header() {
    let bold = |title| format!("\x1b[1m{title}\x1b[0m");
    let [state, size, path, why] = ["STATE", "SIZE", "PATH", "WHY"].map(bold);
    let expected = format!(
        "{state}      {size}  {path}              {why}\n\
         \x1b[32mgood\x1b[0m          7  etc/app.conf\n\
         bad    12345678  etc/grün/界.conf  it is not what it was\n\
         \x20                                  hint: look at it\n"
    );
    assert_eq!(rows(Paper::Screen { columns: 100 }), expected);
    let narrow = format!(
        "{state}      {size}  {path}         {why}\n\
         \x1b[32mgood\x1b[0m          7  etc/app.co…\n\
         bad    12345678  etc/grün/…   it is not\n\
         \x20                             what it\n\
         \x20                             was\n\
         \x20                             hint:\n\
         \x20                             look at\n\
         \x20                             it\n"
    );
    let shown = rows(Paper::Screen { columns: 39 });
    assert_eq!(shown, narrow, "{shown}");
    assert_eq!(written(Paper::Screen { columns: 80 }, |_, _| {}), "");
}

#[test]
fn every_line_fits_where_all_can() {
    let plain = |text: &str| text.replace("\x1b[32m", "").replace("\x1b[1m", "").replace("\x1b[0m", "");
    let least = "STATE".len() + 8 + 8 + 8 + 3 * GAP.len();
    for columns in least..100 {
        let shown = plain(&rows(Paper::Screen { columns }));
        assert!(
            shown.lines().all(|line| line.width() <= columns && !line.ends_with(' ')),
            "{columns}: {shown}"
        );
    }
    // Where there is no room the columns stay as narrow as they can be, and say the same.
    assert_eq!(plain(&rows(Paper::Screen { columns: 0 })), plain(&rows(Paper::Screen { columns: least })));
}

#[test]
fn a_column_with_nothing_in_it_is_not_there() {
    let shown = written(Paper::Screen { columns: 80 }, |table, out| {
        table.row(["a".into(), "".into(), "b".into(), "".into()], out).unwrap();
    });
    assert_eq!(shown, "\x1b[1mSTATE\x1b[0m  \x1b[1mPATH\x1b[0m\na      b\n");
}

#[test]
fn a_streamed_table_is_written_row_by_row() {
    let mut out = Vec::new();
    let columns = [Column::new("A").piped(3, " "), Column::new("B").wrap()];
    let mut table = Table::streamed(Paper::Screen { columns: 12 }, columns, [3, 4]);
    table.row(["1".into(), "one".into()], &mut out).unwrap();
    assert_eq!(String::from_utf8_lossy(&out), "\x1b[1mA\x1b[0m    \x1b[1mB\x1b[0m\n1    one\n");
    table.row(["2".into(), "two and three".into()], &mut out).unwrap();
    let before = out.len();
    table.end(&mut out).unwrap();
    assert_eq!(out.len(), before);
    assert!(out.ends_with(b"\n2    two and\n     three\n"), "{}", String::from_utf8_lossy(&out));
}

#[test]
fn words_are_kept_whole_where_they_can_be() {
    assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
    assert_eq!(wrap("aaaaaaa b", 3), ["aaa", "aaa", "a b"]);
    assert_eq!(wrap("界界界", 3), ["界", "界", "界"]);
    // A character that is wider than the line is not lost.
    assert_eq!(wrap("界界", 1), ["界", "界", ""]);
    assert_eq!(wrap("", 5), [""]);
    // A path behind a slash, unless a line had little in it then.
    assert_eq!(wrap("etc/app/conf.d/x", 10), ["etc/app/", "conf.d/x"]);
    assert_eq!(wrap("see /etc/app/conf.d/x", 10), ["see", "/etc/app/", "conf.d/x"]);
    assert_eq!(wrap("a/bbbbbbbbbb", 6), ["a/bbbb", "bbbbbb"]);
    assert_eq!((start("a界b", 2), start("a界b", 3)), ("a", "a界"));
}
