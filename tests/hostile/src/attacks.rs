//! What the guests do.

use crate::guest::leb128;
use crate::{ECHO, FOREVER, Guest, SKIP};

/// All of them under their names, each at a size that is an attack under the default limits.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let guests = [
        ("wat-loop", loop_in_export()),
        ("wat-start-loop", loop_in_start()),
        ("wat-realloc-loop", loop_in_realloc()),
        ("wat-post-return-loop", loop_in_post_return()),
        ("wat-copies", large_copies(512)),
        ("wat-fills", large_fills(1_000)),
        ("wat-memory-grow", memory_without_end()),
        ("wat-memory-at-start", Guest { pages: 1_025, ..Guest::default() }),
        ("wat-table-grow", table_of(49_000)),
        ("wat-table-at-start", Guest { fields: "(table 60000 funcref)".to_owned(), ..Guest::default() }),
        ("wat-recursion", recursion()),
        ("wat-requests", Guest { pages: 1_000, ..requests(1_000_000) }),
        ("wat-headers", Guest { pages: 60, ..headers(100_000) }),
        ("wat-string", Guest { pages: 600, ..string(0, 32 << 20) }),
        ("wat-list-out-of-bounds", list_out_of_bounds()),
        ("wat-not-utf8", not_utf8()),
        ("wat-handles", handles()),
        ("wat-log-flood", logging(1_000_000_000, &"x".repeat(2_000))),
        ("wat-log-not-utf8", log_not_utf8()),
        ("wat-divide", Guest::transform(DIVIDE)),
        ("wat-debug-lines", debug_lines(30 << 20)),
        ("wat-mangled-name", mangled_name(22)),
        ("wat-large-function", large_function(400_000)),
        ("wat-slow-compile", slow_to_compile(8)),
    ];
    let mut all: Vec<_> = guests.into_iter().map(|(name, guest)| (name, guest.component())).collect();
    all.extend([
        ("wat-modules", modules(61)),
        ("wat-instances", instances(61, "")),
        ("wat-memories", instances(9, "(memory 1)")),
        ("wat-tables", instances(21, "(table 1 funcref)")),
        ("wat-nested", nested(1_000)),
    ]);
    all
}

/// Divides by zero.
pub const DIVIDE: &str = "(drop (i32.div_u (i32.const 1) (local.get $i))) unreachable";

/// Loops in `transform`.
pub fn loop_in_export() -> Guest {
    Guest::transform(&format!("{FOREVER} unreachable"))
}

/// Loops before it is asked for anything.
pub fn loop_in_start() -> Guest {
    Guest { fields: format!("(func $start {FOREVER}) (start $start)"), ..Guest::default() }
}

/// Loops while the host passes the record to it.
pub fn loop_in_realloc() -> Guest {
    Guest { realloc: format!("{FOREVER} unreachable"), ..Guest::default() }
}

/// Loops after its answer was read.
pub fn loop_in_post_return() -> Guest {
    Guest { post: FOREVER.to_owned(), ..Guest::default() }
}

/// Moves all of its memory, of so many pages, for ever. Each copy runs to its end between two looks at the epoch.
pub fn large_copies(pages: u32) -> Guest {
    let bytes = pages * 65_536 - 1;
    let body = format!("(loop $again (memory.copy (i32.const 0) (i32.const 1) (i32.const {bytes})) (br $again)) unreachable");
    Guest { pages, ..Guest::transform(&body) }
}

/// Fills all of its memory but the first page, of so many pages, and skips the record: nobody can look at the epoch meanwhile, and the call is over when
/// somebody could.
pub fn large_fills(pages: u32) -> Guest {
    let fill = format!("(memory.fill (i32.const 65536) (i32.const 1) (i32.const {}))", (pages - 1) * 65_536);
    Guest { pages, ..Guest::transform(&format!("{fill} {fill} {SKIP}")) }
}

/// Traps in a function of which so many bytes of debug information (DWARF 4) tell the lines.
pub fn debug_lines(bytes: usize) -> Guest {
    // One compilation unit with the lines at 0, from address 0 on, for all addresses.
    let abbreviations = [1, 0x11, 0, 0x10, 0x17, 0x11, 0x01, 0x12, 0x06, 0, 0, 0];
    let unit = [4, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f];
    let info = [&(unit.len() as u32).to_le_bytes()[..], &unit].concat();
    // Instructions of one byte; a line advances by -5 to 8, and an address by what is above. One file, `x`.
    let header = [1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, b'x', 0, 0, 0, 0, 0];
    let mut program = vec![0, 5, 2, 0, 0, 0, 0];
    // The address by one, the line by none: a row for each byte.
    program.resize(bytes, 13 + 14 + 5);
    program.extend([0, 1, 1]);
    let mut lines = ((2 + 4 + header.len() + program.len()) as u32).to_le_bytes().to_vec();
    lines.extend([4, 0]);
    lines.extend((header.len() as u32).to_le_bytes());
    lines.extend(header);
    lines.extend(program);
    let sections = vec![(".debug_abbrev", abbreviations.to_vec()), (".debug_info", info), (".debug_line", lines)];
    Guest { sections, ..trap_in("burst") }
}

/// Traps in a function whose name, as compilers of C++ write it, stands for a text that each level makes twice as long.
pub fn mangled_name(levels: u32) -> Guest {
    // `f(A<int, int>, A<A<int, int>, A<int, int>>, ...)`: each argument after the first names the one before it twice, as a substitution.
    let substitution = |number: u32| match number {
        0 => "S_".to_owned(),
        _ => format!("S{}_", base36(number - 1)),
    };
    let arguments = (1..=levels).map(|level| format!("S_I{0}{0}E", substitution(level)));
    trap_in(&format!("_Z1f1AIiiE{}", arguments.collect::<String>()))
}

fn base36(number: u32) -> String {
    let digit = char::from_digit(number % 36, 36).unwrap_or('0').to_ascii_uppercase();
    if number < 36 { digit.to_string() } else { format!("{}{digit}", base36(number / 36)) }
}

/// Traps in a function of this name.
pub fn trap_in(name: &str) -> Guest {
    Guest { transform: format!("(call ${name}) unreachable"), fields: format!("(func ${name} unreachable)"), ..Guest::default() }
}

/// Takes memory until it is denied, and traps.
pub fn memory_without_end() -> Guest {
    Guest::transform("(block $full (loop $again (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br $again))) unreachable")
}

/// Takes memory until it is denied, and lives with that.
pub fn memory_to_the_limit() -> Guest {
    let body = format!("(block $full (loop $again (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1))) (br $again))) {SKIP}");
    Guest::transform(&body)
}

/// Grows a table to so many elements, and traps.
pub fn table_of(elements: u32) -> Guest {
    Guest {
        transform: format!("(drop (table.grow $t (ref.null func) (i32.const {elements}))) unreachable"),
        fields: "(table $t 1 funcref)".to_owned(),
        ..Guest::default()
    }
}

/// Calls itself for ever.
pub fn recursion() -> Guest {
    Guest {
        transform: "(call $deeper (i32.const 0)) unreachable".to_owned(),
        fields: "(func $deeper (param i32) (call $deeper (i32.add (local.get 0) (i32.const 1))))".to_owned(),
        ..Guest::default()
    }
}

/// `send` of a list of so many requests, all of them the zeros at address 8192 on.
pub fn requests(count: u32) -> Guest {
    Guest {
        transform: format!(
            "(i32.store8 (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 8192)) (i32.store (i32.const 72) (i32.const {count})) (i32.const 64)"
        ),
        pages: 60,
        ..Guest::default()
    }
}

/// One request with so many headers, all of them empty.
///
/// # Panics
/// Never: `ECHO` ends with its result.
pub fn headers(count: u32) -> Guest {
    let headers = format!("(i32.store (i32.const 152) (i32.const 8192)) (i32.store (i32.const 156) (i32.const {count})) (i32.const 64)");
    let body = ECHO.trim_end().strip_suffix("(i32.const 64)").expect("a result");
    Guest { transform: format!("{body} {headers}"), pages: 60, ..Guest::default() }
}

/// `skip` with this part of its memory.
pub fn string(address: u32, length: u32) -> Guest {
    Guest::transform(&format!(
        "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const {address})) (i32.store (i32.const 72) (i32.const {length})) (i32.const 64)"
    ))
}

/// `skip` with a string that ends beyond the memory.
pub fn list_out_of_bounds() -> Guest {
    string(u32::MAX - 15, 1_000)
}

/// `skip` with a byte that begins no character.
pub fn not_utf8() -> Guest {
    let Guest { transform, .. } = string(32, 1);
    Guest::transform(&format!("(i32.store8 (i32.const 32) (i32.const 255)) {transform}"))
}

/// Makes resources for ever.
pub fn handles() -> Guest {
    Guest {
        transform: "(loop $again (drop (call $new (i32.const 1))) (br $again)) unreachable".to_owned(),
        imports: r#"(import "[export]test:flood/things" "[resource-new]thing" (func $new (param i32) (result i32)))"#,
        fields: r#"(func (export "test:flood/things#make") (result i32) (call $new (i32.const 1)))"#.to_owned(),
        world: "flood",
        wit: Some(
            "package test:flood;
            interface things { resource thing; make: func() -> thing; }
            world flood { include keyway:transform/plugin@0.1.0; export things; }",
        ),
        ..Guest::default()
    }
}

/// Logs `text` so many times at level info, and skips the record.
pub fn logging(times: u32, text: &str) -> Guest {
    Guest {
        transform: format!(
            "(loop $again (call $log (i32.const 2) (i32.const 1024) (i32.const {})) (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $again (i32.lt_u (local.get $i) (i32.const {times})))) {SKIP}",
            text.len()
        ),
        imports: LOG,
        fields: format!("(data (i32.const 1024) {text:?})"),
        ..Guest::default()
    }
}

const LOG: &str = r#"(import "keyway:transform/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#;

/// Logs bytes that are no text.
pub fn log_not_utf8() -> Guest {
    Guest {
        transform: format!("(call $log (i32.const 2) (i32.const 1024) (i32.const 2)) {SKIP}"),
        imports: LOG,
        fields: r#"(data (i32.const 1024) "\ff\fe")"#.to_owned(),
        ..Guest::default()
    }
}

/// Has a function of so many statements.
pub fn large_function(statements: usize) -> Guest {
    Guest { fields: format!("(func {})", "(drop (i32.const 0))".repeat(statements)), ..Guest::default() }
}

/// Has so many functions as large as a function may be, none of them easy to compile.
pub fn slow_to_compile(functions: usize) -> Guest {
    // 15 bytes a statement.
    let statement = "(i32.store (local.get $a) (i32.add (i32.load (local.get $b)) (i32.mul (local.get $a) (local.get $b))))";
    let function = format!("(func (param $a i32) (param $b i32) {})", statement.repeat(65_000));
    Guest { fields: function.repeat(functions), ..Guest::default() }
}

/// A component of so many modules, of which one has an instance.
pub fn modules(count: usize) -> Vec<u8> {
    parse(&format!("(component (core module $m) (core instance (instantiate $m)) {})", "(core module)".repeat(count - 1)))
}

/// A component with so many instances of a module with these fields.
pub fn instances(count: usize, fields: &str) -> Vec<u8> {
    let instances = "(core instance (instantiate $m))".repeat(count);
    parse(&format!(r#"(component (core module $m {fields}) {instances} (instance $i) (export "keyway:transform/transform@0.1.0" (instance $i)))"#))
}

/// Components within each other, so deep.
pub fn nested(depth: usize) -> Vec<u8> {
    // By hand, from the inside: the text's parser has a limit of its own. Section 4 holds a component.
    let preamble = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
    (1..depth).fold(preamble.to_vec(), |within, _| {
        let mut component = preamble.to_vec();
        component.push(4);
        leb128(within.len(), &mut component);
        component.extend(within);
        component
    })
}

fn parse(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}
