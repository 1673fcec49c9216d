//! The attributes of keyway-sdk. They look at a function's name and at how many arguments it has, and leave all else to the compiler and
//! to traits, so no parser of Rust is built for them.

use proc_macro::{Delimiter, Group, Span, TokenStream, TokenTree};

/// Makes this function the plugin.
///
/// Its arguments are any of `&Message`, `Json<T>` and `Option<Json<T>>`; it returns a `Verdict`, requests, or a `Result` of these (see
/// `IntoVerdict`).
///
/// - `keys = "order:*"` or `keys = ["order:*", "refund.created"]`: the key patterns that the plugin claims; the sidecar file may say otherwise.
/// - `settings_schema = "…"`: a JSON Schema of the plugin's settings, for example by `include_str!`.
///
/// Beside the function it makes a type `Plugin`, with `Plugin::transform(&Message) -> Verdict` and `Plugin::describe()`, which is what the
/// host calls and what tests can call. Name and version are those of the Cargo package.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand_plugin(arguments, &item).unwrap_or_else(Problem::into_tokens).into_iter().chain(item).collect()
}

/// Makes this function, which stands beside the one with `#[plugin]`, see the replies.
///
/// Its last argument is `&[Exchange]`, all exchanges of the record so far; those before it are as for `#[plugin]`. It returns a `Next`,
/// further requests, or a `Result` of these (see `IntoNext`).
#[proc_macro_attribute]
pub fn on_replies(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand_replies(arguments, &item).unwrap_or_else(Problem::into_tokens).into_iter().chain(item).collect()
}

struct Problem {
    at: Span,
    text: &'static str,
}

impl Problem {
    fn into_tokens(self) -> TokenStream {
        let error: TokenStream = parse(&format!("::core::compile_error!({:?});", self.text));
        error
            .into_iter()
            .map(|mut token| {
                token.set_span(self.at);
                token
            })
            .collect()
    }
}

fn expand_plugin(arguments: TokenStream, item: &TokenStream) -> Result<TokenStream, Problem> {
    let function = Function::read(item)?;
    let mut keys = "[]".to_owned();
    let mut schema = "::core::option::Option::None".to_owned();
    for (name, value) in named(arguments)? {
        match name.to_string().as_str() {
            "keys" => keys = value.to_string(),
            "settings_schema" => schema = format!("::core::option::Option::Some(::std::string::String::from({value}))"),
            _ => return Err(Problem { at: name.span(), text: "`#[plugin]` takes `keys` and `settings_schema`" }),
        }
    }
    let call = function.call(function.arguments, "");
    Ok(parse(&format!(
        "/// The plugin, as the host calls it.
        #[derive(Debug, Clone, Copy)]
        pub struct Plugin;

        impl Plugin {{
            /// One record through the plugin.
            pub fn transform(message: &::keyway_sdk::Message) -> ::keyway_sdk::Verdict {{
                let run = || ::core::result::Result::Ok::<_, ::keyway_sdk::Reject>({call});
                ::keyway_sdk::IntoVerdict::into_verdict(run().map(::keyway_sdk::IntoVerdict::into_verdict))
            }}

            /// What the plugin says of itself.
            pub fn describe() -> ::keyway_sdk::Description {{
                ::keyway_sdk::Description {{
                    name: ::std::string::String::from(::core::env!(\"CARGO_PKG_NAME\")),
                    version: ::std::string::String::from(::core::env!(\"CARGO_PKG_VERSION\")),
                    keys: ::keyway_sdk::plugin::Keys::into_keys({keys}),
                    settings_schema: {schema},
                }}
            }}
        }}

        #[cfg(target_arch = \"wasm32\")]
        #[allow(unsafe_code, reason = \"exports of the component\")]
        const _: () = {{
            impl ::keyway_sdk::bindings::described::exports::keyway::transform::transform::Guest for Plugin {{
                fn transform(message: ::keyway_sdk::Message) -> ::keyway_sdk::Verdict {{
                    ::keyway_sdk::plugin::begin();
                    Plugin::transform(&message)
                }}
            }}
            impl ::keyway_sdk::bindings::described::exports::keyway::transform::about::Guest for Plugin {{
                fn describe() -> ::keyway_sdk::Description {{
                    ::keyway_sdk::plugin::begin();
                    Plugin::describe()
                }}
            }}
            ::keyway_sdk::bindings::described::export_described!(Plugin with_types_in ::keyway_sdk::bindings::described);
        }};"
    )))
}

fn expand_replies(arguments: TokenStream, item: &TokenStream) -> Result<TokenStream, Problem> {
    let function = Function::read(item)?;
    if let Some(token) = arguments.into_iter().next() {
        return Err(Problem { at: token.span(), text: "`#[on_replies]` takes nothing" });
    }
    let Some(from_message) = function.arguments.checked_sub(1) else {
        return Err(Problem { at: function.name.span(), text: "the last argument of a function under `#[on_replies]` is `&[Exchange]`" });
    };
    let call = function.call(from_message, "exchanges");
    Ok(parse(&format!(
        "impl Plugin {{
            /// The replies of one record, so far, to the plugin.
            pub fn on_replies(message: &::keyway_sdk::Message, exchanges: &[::keyway_sdk::Exchange]) -> ::keyway_sdk::Next {{
                let run = || ::core::result::Result::Ok::<_, ::keyway_sdk::Reject>({call});
                ::keyway_sdk::IntoNext::into_next(run().map(::keyway_sdk::IntoNext::into_next))
            }}
        }}

        #[cfg(target_arch = \"wasm32\")]
        #[allow(unsafe_code, reason = \"exports of the component\")]
        const _: () = {{
            impl ::keyway_sdk::bindings::replies::exports::keyway::transform::replies::Guest for Plugin {{
                fn on_replies(message: ::keyway_sdk::Message, exchanges: ::std::vec::Vec<::keyway_sdk::Exchange>) -> ::keyway_sdk::Next {{
                    ::keyway_sdk::plugin::begin();
                    Plugin::on_replies(&message, &exchanges)
                }}
            }}
            ::keyway_sdk::bindings::replies::export_replies!(Plugin with_types_in ::keyway_sdk::bindings::replies);
        }};"
    )))
}

/// Code that this crate wrote itself, apart from values that came as tokens.
fn parse(code: &str) -> TokenStream {
    match code.parse() {
        Ok(tokens) => tokens,
        Err(error) => unreachable!("{error} in {code}"),
    }
}

/// As much of a function as is needed to call it.
struct Function {
    name: proc_macro::Ident,
    arguments: usize,
}

impl Function {
    fn read(item: &TokenStream) -> Result<Function, Problem> {
        let wrong = |at, text| Err(Problem { at, text });
        let mut tokens = item.clone().into_iter();
        while let Some(token) = tokens.next() {
            match token.to_string().as_str() {
                "async" => return wrong(token.span(), "a plugin's function cannot be async: it computes, and the host does the waiting"),
                "struct" | "enum" | "mod" | "impl" | "trait" | "const" | "static" | "use" => break,
                "fn" => {
                    let Some(TokenTree::Ident(name)) = tokens.next() else { break };
                    return match tokens.next() {
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
                            Ok(Function { name, arguments: count(&group) })
                        }
                        _ => wrong(name.span(), "a plugin's function cannot be generic"),
                    };
                }
                _ => {}
            }
        }
        wrong(Span::call_site(), "this attribute stands at a function")
    }

    /// The call, in which `from_message` arguments are made of `message` and `last` follows.
    fn call(&self, from_message: usize, last: &str) -> String {
        format!("{}({}{last})", self.name, "::keyway_sdk::FromMessage::from_message(message)?, ".repeat(from_message))
    }
}

/// How many arguments a function's parentheses hold: commas outside of `<…>`, which are no groups to the compiler's lexer.
fn count(parentheses: &Group) -> usize {
    let (mut arguments, mut depth, mut begun, mut before) = (0, 0_usize, false, ' ');
    for token in parentheses.stream() {
        let mut mark = ' ';
        if let TokenTree::Punct(punct) = &token {
            mark = punct.as_char();
        }
        match mark {
            ',' if depth == 0 => {
                arguments += 1;
                begun = false;
                before = mark;
                continue;
            }
            '<' => depth += 1,
            // Not the end of `->`.
            '>' if before != '-' => depth = depth.saturating_sub(1),
            _ => {}
        }
        begun = true;
        before = mark;
    }
    arguments + usize::from(begun)
}

/// `name = value, …`
fn named(arguments: TokenStream) -> Result<Vec<(proc_macro::Ident, TokenStream)>, Problem> {
    let mut found = Vec::new();
    let mut tokens = arguments.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let TokenTree::Ident(name) = token else {
            return Err(Problem { at: token.span(), text: "expected `name = value`" });
        };
        match tokens.next() {
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => {}
            _ => return Err(Problem { at: name.span(), text: "expected `name = value`" }),
        }
        let mut value = TokenStream::new();
        while let Some(token) = tokens.next_if(|token| !matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
            value.extend([token]);
        }
        tokens.next();
        if value.is_empty() {
            return Err(Problem { at: name.span(), text: "expected `name = value`" });
        }
        found.push((name, value));
    }
    Ok(found)
}
