//! The same kernels with the invocations of a workgroup in another order.
//!
//! A software driver runs the invocations of a workgroup one group of lanes after the other, up to the next barrier. A kernel whose
//! barrier is missing may so read what it should not, or not, by the order alone; in another order it does.

/// A WGSL expression of the invocation's place, `lane`, and their number, a power of two, that is another place for each.
pub const ORDERS: [&str; 2] = ["SIZE - 1u - lane", "(lane * 29u + 7u) % (SIZE)"];

/// The module with the invocations of all its workgroups in another order, if they know their places at all.
pub fn reordered(module: &str, order: &str) -> Option<String> {
    const PLACE: &str = "@builtin(local_invocation_index) local: u32";
    let mut parts = module.split(PLACE);
    let mut text = parts.next()?.to_string();
    let mut found = false;
    for part in parts {
        found = true;
        let start = text.rfind("@workgroup_size(")? + "@workgroup_size(".len();
        let size = text[start..].split(')').next()?.to_string();
        let body = part.find(") {\n")? + ") {\n".len();
        text.push_str(&PLACE.replace("local:", "lane:"));
        text.push_str(&part[..body]);
        text.push_str(&format!("    let local = {};\n", order.replace("SIZE", &size)));
        text.push_str(&part[body..]);
    }
    found.then_some(text)
}
