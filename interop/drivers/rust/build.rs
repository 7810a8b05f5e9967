fn main() -> std::io::Result<()> {
    let protos = "../../../protos";
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false) // its `connect` would clash with the call of that name
        .compile_protos(&[format!("{protos}/bcast_grpc/v1/chat.proto")], &[protos.to_owned()])
}
