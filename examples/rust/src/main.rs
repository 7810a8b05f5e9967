//! A terminal client of bcast_grpc: a line in is a message, a message is a line out.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, exit};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use std::{env, iter, thread};

use lexopt::prelude::{Long, Value, ValueExt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use proto::connect_response::Detail;
use proto::{ConnectRequest, ConnectResponse, ErrorCode, EventKind, GapReason, chat_client::ChatClient};

mod proto {
    tonic::include_proto!("bcast_grpc.v1");
}

const MAX_LINE: usize = 100_000;
const MAX_PENDING: usize = 32;
const MAX_BACKOFF: Duration = Duration::from_secs(5);
const MAX_JOINING: Duration = Duration::from_secs(10);
const MAX_LEAVING: Duration = Duration::from_secs(10);
/// So that those who lost a server do not all come to the next one at once.
const SPREAD: Duration = Duration::from_millis(100);
/// Bytes, or one request: on a slow line all else waits behind them, answers to pings too.
const MAX_UNDER_WAY: usize = 65_536;
const NOT_TRUSTED: u8 = 69;
const NOT_LET_IN: u8 = 77;
const BROKEN_PIPE: i32 = 128 + 13; // as a shell tells of programs that end by SIGPIPE

/// Whether something was not sent.
static FAILED: AtomicBool = AtomicBool::new(false);

/// A request without an answer yet, and when to send it: `None` once it is sent.
struct Pending {
    request: ConnectRequest,
    due: Option<Instant>,
}

impl Pending {
    fn size(&self) -> usize {
        self.request.encoded_len()
    }
}

/// What shows who we are: from a file, which may get another one, or from the environment.
#[derive(Default)]
struct Token {
    file: Option<PathBuf>,
    text: String,
}

impl Token {
    /// Takes what the file holds now, if there is a file; says whether that is another one.
    fn read(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let old = std::mem::replace(&mut self.text, fs::read_to_string(file)?.trim().into());
        Ok(old != self.text)
    }
}

/// One of those that share the rooms. One channel for all of them could not leave a server that is full.
struct Server {
    target: String,
    client: ChatClient<Channel>,
    due: Instant, // when to call it
    failures: i32,
    fault: Option<u8>, // the exit code, where what is there is no server to talk to
}

#[derive(Default)]
struct Chat {
    servers: Vec<Server>, // the one in use comes first
    json: bool,
    metadata: MetadataMap,
    token: Token,
    renew_at: Option<Instant>, // when to look for a new token, if at all
    pending: Vec<Pending>,
    // The place in the room's order from which to go on after a reconnect.
    epoch: String,
    seq: u64,
    reconnect_after: Option<Duration>,
    since: Option<Instant>, // the last welcome
    moving: bool,           // to another server, as this one has lost its store
}

impl Chat {
    /// Makes one call, and stays until it is lost or there is nothing more to do.
    async fn connect(
        &mut self,
        input: &mut mpsc::Receiver<ConnectRequest>,
        interrupted: &mut watch::Receiver<bool>,
    ) -> Result<(), Status> {
        let (requests, outgoing) = mpsc::channel(1);
        let mut call = Request::new(ReceiverStream::new(outgoing));
        *call.metadata_mut() = self.metadata.clone();
        if !self.epoch.is_empty()
            && let Ok(after) = format!("{}:{}", self.epoch, self.seq).parse()
        {
            call.metadata_mut().insert("bcast-after", after);
        }
        let _ = self.token.read(); // or else the last one
        if !self.token.text.is_empty()
            && let Ok(bearer) = format!("Bearer {}", self.token.text).parse()
        {
            call.metadata_mut().insert("authorization", bearer);
        }
        self.renew_at = None;
        self.moving = false;
        let mut client = self.servers[0].client.clone();
        let mut events = tokio::select! {
            response = timeout(MAX_JOINING, client.connect(call)) => match response {
                Ok(response) => response?.into_inner(),
                Err(_) => return Err(Status::deadline_exceeded("the server did not answer in time")),
            },
            _ = interrupted.changed() => return Ok(()),
        };
        let now = Instant::now();
        self.pending.iter_mut().for_each(|it| it.due = Some(now));
        let (mut input_ended, mut full) = (false, false);
        while !(input_ended && self.pending.is_empty()) {
            let due = self.pending.iter().filter_map(|it| it.due).min();
            let may_send = async {
                sleep_until(due?).await;
                requests.reserve().await.ok()
            };
            let renew_at = self.renew_at;
            let may_renew = async {
                sleep_until(renew_at?).await;
                Some(())
            };
            tokio::select! {
                biased; // input before sending, so that frames are large
                _ = interrupted.changed() => break,
                request = input.recv(), if !input_ended && self.pending.len() < MAX_PENDING => match request {
                    Some(request) => {
                        input_ended = leaves(&request);
                        self.pending.push(Pending { request, due: Some(now) });
                    }
                    None => input_ended = true,
                },
                Some(()) = may_renew => self.renew(),
                Some(permit) = may_send, if !full => match self.next_frame() {
                    Some(frame) => permit.send(frame),
                    None => full = true,
                },
                frame = events.message() => match frame? {
                    Some(frame) => {
                        self.receive(frame);
                        full = false; // something may have been answered
                        if self.moving {
                            return Err(Status::unavailable("the server has lost its store"));
                        }
                    }
                    None => return Err(Status::unknown("ended, though we did not leave")),
                },
            }
        }
        drop(requests); // the half-close
        let farewell = async {
            while let Ok(Some(frame)) = events.message().await {
                self.receive(frame);
            }
        };
        let _ = timeout(MAX_LEAVING, farewell).await;
        Ok(())
    }

    /// Sends the token that is in the file; if it is still the old one, looks again later.
    fn renew(&mut self) {
        if self.token.read().unwrap_or_default() {
            let request =
                ConnectRequest { operacion: "auth".into(), msg: self.token.text.clone(), ..Default::default() };
            self.pending.insert(0, Pending { request, due: Some(Instant::now()) });
            self.renew_at = None;
        } else {
            self.renew_at = Some(Instant::now() + Duration::from_secs(1));
        }
    }

    /// Why a call ended, and the exit code if there is no server where the next one might not.
    fn judge(&mut self, status: &Status) -> (String, Option<u8>) {
        let (distrust, is_final) = (distrust(status), self.is_final(status));
        let text = match &distrust {
            Some(why) => format!("the server is not trusted: {why}"),
            None if is_final => status.message().into(),
            None => format!("{:?}: {}", status.code(), status.message()),
        };
        let says_nothing_of_others = distrust.is_some() || status.code() == Code::Unimplemented;
        let fault = distrust.map(|_| NOT_TRUSTED).or_else(|| {
            is_final.then(|| match status.code() {
                Code::Unauthenticated | Code::PermissionDenied => NOT_LET_IN,
                _ => 1,
            })
        });
        self.servers[0].fault = fault;
        let goes_on = says_nothing_of_others && self.servers.iter().any(|it| it.fault.is_none());
        (text, if goes_on { None } else { fault })
    }

    /// Waits until a server may be called, and puts it first.
    async fn wait(&mut self) {
        self.servers.sort_by_key(|it| it.due);
        sleep_until(self.servers[0].due.max(Instant::now() + SPREAD.mul_f64(fastrand::f64()))).await;
    }

    /// Whether another server may be called now.
    fn has_other(&self) -> bool {
        self.servers[1..].iter().any(|it| it.due <= Instant::now())
    }

    /// Whether the next call would end in the same way; keeps what the server says of when to make it.
    fn is_final(&mut self, status: &Status) -> bool {
        let details = status.get_error_details();
        if let Some(retry) = details.retry_info() {
            self.reconnect_after = retry.retry_delay;
        }
        if let Some(info) = details.error_info().filter(|it| it.domain == "bcast_grpc") {
            if info.reason == "TOKEN_EXPIRED" && self.token.file.is_some() {
                return false; // by the next call, the file may hold another one
            }
            return info.metadata.get("retryable").is_some_and(|it| it == "false");
        }
        match status.code() {
            // No such server, or not let in. What a proxy says while the server is away proves nothing.
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => {
                self.epoch.is_empty() || !status.message().contains("HTTP status")
            }
            _ => false,
        }
    }

    /// What is due, as far as there is room, as one frame. A batch from the input is one by itself, and not waited for.
    fn next_frame(&mut self) -> Option<ConnectRequest> {
        let now = Instant::now();
        let mut frame = ConnectRequest::default();
        let mut under_way: usize = self.pending.iter().filter(|it| it.due.is_none()).map(Pending::size).sum();
        while let Some(i) = self.pending.iter().position(|it| it.due.is_some_and(|due| due <= now)) {
            if under_way > 0 && under_way + self.pending[i].size() > MAX_UNDER_WAY {
                break;
            }
            under_way += self.pending[i].size();
            if self.pending[i].request.operacion == "auth" && self.pending[i].request.id.is_empty() {
                frame.batch.push(self.pending.remove(i).request); // without an id, nothing answers
            } else if self.pending[i].request.batch.is_empty() {
                self.pending[i].due = None;
                frame.batch.push(self.pending[i].request.clone());
            } else if frame.batch.is_empty() {
                return Some(self.pending.remove(i).request);
            } else {
                break;
            }
        }
        if frame.batch.len() > 1 { Some(frame) } else { frame.batch.pop() }
    }

    fn receive(&mut self, frame: ConnectResponse) {
        let mut out = String::new();
        for event in if frame.batch.is_empty() { vec![frame] } else { frame.batch } {
            match event.kind() {
                _ if self.json => match to_json(&event) {
                    Ok(json) => out += &(json + "\n"),
                    Err(error) => complain(&format!("an event that is no JSON: {error}")),
                },
                EventKind::Welcome | EventKind::Ack | EventKind::Progress | EventKind::Expiring => {}
                EventKind::Error if matches!(&event.detail, Some(Detail::Error(error)) if error.retryable) => {}
                EventKind::Error => complain(&event.message),
                _ => out += &(printable(&event.message) + "\n"),
            }
            self.heed(event);
        }
        // This may block, as main is none of the runtime's threads. What nobody reads here, we do not read there.
        if let Err(error) = io::stdout().write_all(out.as_bytes()) {
            if error.kind() == ErrorKind::BrokenPipe {
                exit(BROKEN_PIPE);
            }
            complain(&format!("stdout: {error}"));
            exit(1);
        }
    }

    fn heed(&mut self, event: ConnectResponse) {
        if let EventKind::Message | EventKind::Progress = event.kind() {
            self.seq = event.seq;
        }
        if event.kind() == EventKind::Expiring && self.token.file.is_some() {
            self.renew_at = Some(Instant::now());
        }
        let answered = self.pending.iter().position(|it| it.due.is_none() && it.request.id == event.id);
        match event.detail {
            Some(Detail::Welcome(welcome)) => {
                self.since = Some(Instant::now());
                if welcome.epoch != self.epoch {
                    self.seq = if self.epoch.is_empty() { event.seq } else { 0 };
                    self.epoch = welcome.epoch;
                }
            }
            Some(Detail::Ack(ack)) if ack.epoch == self.epoch && ack.seq == self.seq + 1 => self.seq = ack.seq,
            Some(Detail::Gap(gap)) if gap.reason() == GapReason::NewEpoch => self.seq = 0,
            Some(Detail::Gap(gap)) if gap.last_missed > 0 => self.seq = gap.last_missed,
            Some(Detail::Members(members)) if members.more => return,
            Some(Detail::Closing(closing)) => {
                self.reconnect_after = closing.reconnect_after.and_then(|it| it.try_into().ok())
            }
            Some(Detail::Error(error)) if error.retryable => {
                if let Some(i) = answered {
                    let wait = error.retry_after.and_then(|it| it.try_into().ok()).unwrap_or(Duration::from_secs(1));
                    self.pending[i].due = Instant::now().checked_add(wait);
                    if error.code() == ErrorCode::BrokerUnavailable && self.has_other() {
                        self.moving = true;
                        self.reconnect_after = Some(wait);
                    }
                }
                return;
            }
            Some(Detail::Error(_)) => FAILED.store(true, Relaxed),
            _ => {}
        }
        if let Some(i) = answered {
            self.pending.remove(i);
        }
    }
}

/// Reads one request a line, on a thread of its own: a read from stdin cannot be cancelled.
fn read_requests(json: bool, requests: &mpsc::Sender<ConnectRequest>) -> io::Result<()> {
    let (mut stdin, mut line, mut count) = (io::stdin().lock(), Vec::new(), 0);
    let mut mark = "\u{FEFF}"; // a byte order mark, which may come first
    let limit = MAX_LINE + (mark.to_owned() + "\r\n").len();
    while stdin.by_ref().take(limit as u64).read_until(b'\n', &mut line)? > 0 {
        if line.len() == limit && !line.ends_with(b"\n") {
            stdin.skip_until(b'\n')?;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_prefix(mark).unwrap_or(&text).lines().next().unwrap_or_default();
        match parse_request(json, text) {
            Ok(None) => {}
            Ok(Some(mut request)) => {
                count += 1;
                if request.id.is_empty() && request.batch.is_empty() {
                    request.id = format!("#{count}");
                }
                let last = leaves(&request);
                if requests.blocking_send(request).is_err() || last {
                    break;
                }
            }
            Err(error) => {
                complain(&format!("not sent: {error}"));
                FAILED.store(true, Relaxed);
            }
        }
        mark = "";
        line.clear();
    }
    Ok(())
}

fn leaves(request: &ConnectRequest) -> bool {
    request.operacion == "leave" || request.batch.iter().any(leaves)
}

fn parse_request(json: bool, text: &str) -> Result<Option<ConnectRequest>, Box<dyn Error>> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > MAX_LINE {
        return Err(format!("a line of more than {MAX_LINE} bytes").into());
    }
    if !json {
        return Ok(Some(ConnectRequest { msg: text.into(), ..Default::default() }));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize(descriptor("bcast_grpc.v1.ConnectRequest"), &mut json)?;
    json.end()?;
    Ok(Some(message.transcode_to()?))
}

fn to_json(event: &ConnectResponse) -> Result<String, Box<dyn Error>> {
    let mut message = DynamicMessage::new(descriptor("bcast_grpc.v1.ConnectResponse"));
    message.transcode_from(event)?;
    let mut json = serde_json::Serializer::new(Vec::new());
    message.serialize_with_options(&mut json, &SerializeOptions::new().use_proto_field_name(true))?;
    Ok(String::from_utf8(json.into_inner())?)
}

fn descriptor(name: &str) -> MessageDescriptor {
    const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("chat");
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("protoc made it"));
    POOL.get_message_by_name(name).expect("it is in the .proto")
}

/// Strangers wrote it, who must not steer our terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{FFFD}")
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text)); // `eprintln!` panics where stderr is closed
}

/// Ends the program where nobody reads its output any more, also while there is nothing to print.
#[cfg(unix)]
async fn watch_output() {
    use tokio::{io::Interest, net::unix::pipe};
    if let Ok(stdout) = pipe::OpenOptions::new().open_sender("/dev/stdout")
        && stdout.ready(Interest::ERROR).await.is_ok()
    {
        exit(BROKEN_PIPE);
    }
}

/// Why the server's certificate does not do, if it is that.
fn distrust(status: &Status) -> Option<String> {
    let causes = iter::successors(status.source(), |&it| it.source());
    causes.map(|it| it.to_string()).find_map(|it| it.strip_prefix("invalid peer certificate: ").map(Into::into))
}

/// How to make sure of the server, and show who we are; without a CA, by what the system trusts.
fn tls(files: &Files) -> Result<ClientTlsConfig, Box<dyn Error>> {
    let tls = match &files.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    Ok(match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => tls.identity(Identity::from_pem(fs::read(cert)?, fs::read(key)?)),
        (None, None) => tls,
        _ => return Err("--tls-cert and --tls-key go together".into()),
    })
}

#[derive(Default)]
struct Files {
    ca: Option<OsString>,
    cert: Option<OsString>,
    key: Option<OsString>,
}

/// How to reach a server.
fn endpoint(address: &str, secure: bool, files: &Files) -> Result<Endpoint, Box<dyn Error>> {
    let endpoint = if secure {
        Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls(files)?)?
    } else {
        Endpoint::from_shared(format!("http://{address}"))?
    };
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(20))
        // On a slow line pings and their answers wait behind all that was sent before, so that is little.
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535))
}

fn parse_args() -> Result<Chat, Box<dyn Error>> {
    let (mut target, mut metadata, mut json) = (None, MetadataMap::new(), false);
    let (mut files, mut token) = (Files::default(), Token::default());
    let percent_encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string().parse();
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("name") => _ = metadata.insert("bcast-name", args.value()?.parse_with(percent_encoded)?),
            Long("room") => _ = metadata.insert("bcast-room", args.value()?.parse_with(percent_encoded)?),
            Long("json") => json = true,
            Long("token-file") => token.file = Some(args.value()?.into()),
            Long("tls-ca") => files.ca = Some(args.value()?),
            Long("tls-cert") => files.cert = Some(args.value()?),
            Long("tls-key") => files.key = Some(args.value()?),
            Value(value) if target.is_none() => target = Some(value.string()?),
            _ => return Err(arg.unexpected().into()),
        }
    }
    metadata.insert("bcast-client", uuid::Uuid::new_v4().to_string().parse()?);
    metadata.insert("bcast-events", "all".parse()?);
    metadata.insert("bcast-batch", "1".parse()?);
    token.text = env::var("BCAST_TOKEN").unwrap_or_default();
    token.read()?;
    let targets = target.as_deref().unwrap_or("127.0.0.1:50051");
    let secure = targets.contains("grpcs://") || [&files.ca, &files.cert, &files.key].iter().any(|it| it.is_some());
    let mut servers = Vec::new();
    for target in targets.split(',') {
        let target = target.trim().trim_start_matches("grpcs://").trim_start_matches("grpc://").to_owned();
        if target.is_empty() {
            let must = "it must be HOST:PORT, or several with commas between them";
            return Err(format!("target: '{targets}' has an empty address; {must}").into());
        }
        let client = ChatClient::new(endpoint(&target, secure, &files)?.connect_lazy());
        servers.push(Server { target, client, due: Instant::now(), failures: 0, fault: None });
    }
    fastrand::shuffle(&mut servers);
    Ok(Chat { servers, json, metadata, token, ..Default::default() })
}

#[tokio::main(worker_threads = 1)]
async fn main() -> ExitCode {
    let mut chat = match parse_args() {
        Ok(chat) => chat,
        Err(error) => {
            let usage = "chat [--name NAME] [--room ROOM] [--json] [--token-file FILE]";
            let tls = "[--tls-ca FILE] [--tls-cert FILE --tls-key FILE]";
            complain(&format!("{error}; usage: {usage} {tls} [TARGET[,TARGET]...]"));
            return ExitCode::from(2);
        }
    };
    let json = chat.json;
    let (requests, mut input) = mpsc::channel(1);
    thread::spawn(move || read_requests(json, &requests).unwrap_or_else(|error| complain(&format!("stdin: {error}"))));
    let (interrupt, mut interrupted) = watch::channel(false);
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        let _ = interrupt.send(true);
        sleep(Duration::from_secs(2)).await;
        exit(130);
    });
    #[cfg(unix)]
    tokio::spawn(watch_output());
    while let Err(status) = chat.connect(&mut input, &mut interrupted).await {
        let (end, fault) = chat.judge(&status);
        if let Some(code) = fault {
            complain(&end);
            return ExitCode::from(code);
        }
        let several = chat.servers.len() > 1;
        let lasted = chat.since.take().is_some_and(|since| since.elapsed() > MAX_BACKOFF);
        if lasted {
            // All are as good again, else all clients would go round in one order.
            let ago = || Instant::now().checked_sub(MAX_BACKOFF.mul_f64(fastrand::f64()));
            chat.servers.iter_mut().for_each(|it| it.due = ago().map_or(it.due, |ago| it.due.max(ago)));
        }
        let server = &mut chat.servers[0];
        let named = if several { format!("{}: ", server.target) } else { String::new() };
        complain(&format!("{named}{end}; trying again"));
        if lasted {
            server.failures = 0; // the connection was worth something
        }
        let backoff = (0.1 * 2f64.powi(server.failures)).min(MAX_BACKOFF.as_secs_f64()) * (0.8 + 0.4 * fastrand::f64());
        server.failures += 1;
        server.due = Instant::now() + chat.reconnect_after.take().unwrap_or(Duration::from_secs_f64(backoff));
        tokio::select! {
            _ = chat.wait() => {}
            _ = interrupted.changed() => break,
        }
    }
    ExitCode::from(if *interrupted.borrow() { 130 } else { u8::from(FAILED.load(Relaxed)) })
}
