//! Which part runs, and which role this process has.

mod load;
mod model;
mod process;
mod raw;
mod rebuild;
mod tables;
mod topics;

pub fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "--role") {
        return raw::role(&args[1..]);
    }
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let parts: [(&str, &dyn Fn()); 9] = [
        ("routing", &|| {
            if !has("broker") {
                tables::routing();
            }
            if !has("pure") {
                load::routing();
            }
        }),
        ("calls", &|| {
            if !has("broker") {
                tables::calls();
            }
            if !has("pure") {
                load::calls();
            }
        }),
        ("labels", &tables::labels),
        ("rebuild", &rebuild::run),
        ("callers", &load::callers),
        ("publishers", &load::publishers),
        ("connections", &load::connections),
        ("arbiters", &load::arbiters),
        ("model", &model::run),
    ];
    let all = !parts.iter().any(|(name, _)| has(name));
    for (name, run) in parts {
        if all || has(name) {
            println!("## {name}");
            run();
        }
    }
}
