//! Prints the user as which it runs. In the test image its file has the set-uid
//! bit, so that the answer tells whether `no_new_privs` holds.

fn main() {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a Uid line");
    let effective = users.split_whitespace().nth(1).expect("four numbers");
    println!("Effective uid: {effective}");
}
