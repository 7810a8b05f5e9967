use std::{env, io, path::PathBuf};

fn main() -> io::Result<()> {
    let descriptors = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo")).join("chat.bin");
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false) // its `connect` would clash with the call of that name
        .file_descriptor_set_path(descriptors) // for JSON
        .compile_protos(&["../../protos/bcast_grpc/v1/chat.proto"], &["../../protos"])
}
