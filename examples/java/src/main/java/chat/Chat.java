package chat;

import static io.grpc.Metadata.ASCII_STRING_MARSHALLER;
import static java.nio.charset.StandardCharsets.UTF_8;
import static java.util.concurrent.TimeUnit.SECONDS;

import bcast_grpc.v1.ChatGrpc;
import bcast_grpc.v1.ConnectRequest;
import bcast_grpc.v1.ConnectRequestOrBuilder;
import bcast_grpc.v1.ConnectResponse;
import bcast_grpc.v1.Error;
import bcast_grpc.v1.ErrorCode;
import bcast_grpc.v1.GapReason;
import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status.Code;
import io.grpc.StatusException;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.MetadataUtils;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.net.URLEncoder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateException;
import java.security.cert.CertificateExpiredException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.logging.LogManager;
import java.util.regex.Pattern;

/** A terminal client of bcast_grpc: a line in is a message, a message is a line out. */
public final class Chat {
  private static final int MAX_LINE = 100_000;
  private static final int MARGIN = "\uFEFF\r".getBytes(UTF_8).length; // of a line, but not of its text
  private static final int MAX_PENDING = 32;
  // Bytes, or one request: on a slow line all else waits behind them, answers to pings too.
  private static final int MAX_UNDER_WAY = 65_536;
  private static final long MIN_BACKOFF = 100;
  private static final long MAX_BACKOFF = 5000;
  private static final long MAX_JOINING = 10_000;
  private static final long MAX_LEAVING = 10_000;
  // So that those who lost a server do not all come to the next one at once.
  private static final long SPREAD = 100;
  private static final int NOT_TRUSTED = 69;
  private static final int NOT_LET_IN = 77;
  private static final int BROKEN_PIPE = 128 + 13; // as a shell tells of programs ended by SIGPIPE
  private static final long NEVER = Long.MAX_VALUE;
  private static final Pattern CONTROL = Pattern.compile("\\p{Cc}");
  // So gRPC tells of an HTTP status that a proxy answered with.
  private static final Pattern HTTP_STATUS = Pattern.compile("(?i)http.* status");
  private static final Set<String> FILES =
      Set.of("--token-file", "--tls-ca", "--tls-cert", "--tls-key");
  private static final String USAGE =
      "usage: chat [--name NAME] [--room ROOM] [--json] [--token-file FILE]"
          + " [--tls-ca FILE] [--tls-cert FILE --tls-key FILE] [TARGET[,TARGET]...]";
  private static final JsonFormat.Parser PARSER = JsonFormat.parser().ignoringUnknownFields();
  private static final JsonFormat.Printer PRINTER =
      JsonFormat.printer().preservingProtoFieldNames().omittingInsignificantWhitespace();

  /** A request that is not answered yet, and when to send it: NEVER while it is on its way. */
  private static final class Pending {
    final ConnectRequest request;
    long due = clock();

    Pending(ConnectRequest request) {
      this.request = request;
    }

    int size() {
      return request.getSerializedSize();
    }
  }

  /** One of those that share the rooms. One channel for all could not leave one that is full. */
  private static final class Server {
    final String target;
    final ManagedChannel channel;
    long due = clock(); // when to call it
    long backoff = MIN_BACKOFF;
    int fault; // the exit code, where what is there is no server to talk to

    Server(String target, ChannelCredentials credentials) {
      this.target = target;
      channel =
          NettyChannelBuilder.forTarget(target, credentials)
              .keepAliveTime(10, SECONDS)
              .keepAliveTimeout(20, SECONDS)
              // On a slow line pings and their answers wait behind all that was sent before.
              .flowControlWindow(65_535)
              .build();
    }
  }

  // Of the main thread, which connects, reads and prints.
  private final List<Server> servers = new ArrayList<>(); // the one in use comes first
  private final Map<String, String> headers;
  private final boolean json;
  private final String tokenFile; // null if there is none
  private String epoch;
  private long place;
  private long since = NEVER; // the last welcome
  private long reconnectAfter;
  private boolean moving; // to another server, as this one has lost its store

  private Thread renewal; // null as long as no token is going to expire

  // Of the thread that reads the input.
  private long count;

  // Of all threads, guarded by this.
  private final Deque<Pending> pending = new ArrayDeque<>();
  private boolean inputEnded;
  private boolean connected;
  private boolean leaving;

  private volatile boolean failed; // something was not sent
  private volatile String token = System.getenv("BCAST_TOKEN");

  private Chat(
      String targets, Map<String, String> files, Map<String, String> headers, boolean json)
      throws IOException {
    ChannelCredentials credentials = transport(targets, files);
    for (String each : targets.split(",", -1)) {
      String target = each.strip().replaceFirst("^grpcs?://", "");
      if (target.isEmpty()) {
        throw new IllegalArgumentException(
            "target: '%s' has an empty address; it must be HOST:PORT, or several with commas between them"
                .formatted(targets));
      }
      servers.add(new Server(target, credentials));
    }
    Collections.shuffle(servers);
    this.headers = headers;
    this.json = json;
    tokenFile = files.get("--token-file");
    readToken();
  }

  /** Returns how to reach all targets: by TLS, which trusts what Java trusts where no CA is given. */
  private static ChannelCredentials transport(String targets, Map<String, String> files)
      throws IOException {
    String ca = files.get("--tls-ca");
    String cert = files.get("--tls-cert");
    String key = files.get("--tls-key");
    if (!targets.contains("grpcs://") && ca == null && cert == null && key == null) {
      return InsecureChannelCredentials.create();
    }
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    if (ca != null) {
      tls.trustManager(new File(ca));
    }
    if ((cert == null) != (key == null)) {
      throw new IllegalArgumentException("--tls-cert and --tls-key go together");
    }
    if (cert != null) {
      tls.keyManager(new File(cert), new File(key)); // PKCS #8: BEGIN PRIVATE KEY
    }
    return tls.build();
  }

  /** Takes the token that the file holds now, if there is a file. */
  private void readToken() throws IOException {
    if (tokenFile != null) {
      token = Files.readString(Path.of(tokenFile)).strip();
    }
  }

  /** Sends the token that is in the file, as soon as it is another one. */
  private void renew() {
    String old = token;
    try {
      while (token.equals(old)) {
        Thread.sleep(1000);
        readToken();
      }
      ConnectRequest request =
          ConnectRequest.newBuilder().setOperacion("auth").setMsg(token).build();
      update(() -> pending.addFirst(new Pending(request))); // without an id, nothing answers
    } catch (IOException | InterruptedException e) {
      // The call ends, now or when the token expires, and the next one reads the file again.
    }
  }

  public static void main(String[] args) throws IOException, InterruptedException {
    // What is read and written is UTF-8, whatever the locale says; Java reads its arguments as that says.
    FileOutputStream out = new FileOutputStream(FileDescriptor.out);
    System.setOut(new PrintStream(new BufferedOutputStream(out), false, UTF_8));
    System.setErr(new PrintStream(new FileOutputStream(FileDescriptor.err), true, UTF_8));
    LogManager.getLogManager().reset(); // what gRPC would log comes as a status, too
    Chat chat;
    try {
      chat = fromArguments(List.of(args).iterator());
    } catch (IllegalArgumentException | NoSuchElementException | IOException e) {
      System.err.println(e.getMessage() == null ? USAGE : clean(e.getMessage()) + "; " + USAGE);
      System.exit(2);
      return;
    }
    Runtime.getRuntime().addShutdownHook(new Thread(chat::leave)); // Ctrl-C comes here
    start(chat::readInput);
    System.exit(chat.run());
  }

  private static Chat fromArguments(Iterator<String> arguments) throws IOException {
    Map<String, String> files = new HashMap<>();
    Map<String, String> headers = new HashMap<>();
    headers.put("bcast-client", UUID.randomUUID().toString());
    headers.put("bcast-events", "all");
    headers.put("bcast-batch", "1");
    boolean json = false;
    String target = null;
    while (arguments.hasNext()) {
      String argument = arguments.next();
      if (argument.equals("--json")) {
        json = true;
      } else if (argument.equals("--name") || argument.equals("--room")) {
        String value = URLEncoder.encode(arguments.next(), UTF_8).replace("+", "%20");
        headers.put(argument.replace("--", "bcast-"), value);
      } else if (FILES.contains(argument)) {
        files.put(argument, arguments.next());
      } else if (argument.startsWith("-") || target != null) {
        throw new IllegalArgumentException(argument);
      } else {
        target = argument;
      }
    }
    return new Chat(
        Objects.requireNonNullElse(target, "127.0.0.1:50051"), files, headers, json);
  }

  /** Connects again and again, until there is nothing more to do; returns the exit code. */
  private int run() throws IOException, InterruptedException {
    while (true) {
      Server server = servers.get(0);
      server.fault = 0;
      String end = "ended, though we did not leave";
      try {
        talk(server.channel);
        if (moving) {
          end = "the server has lost its store";
        }
      } catch (StatusException e) {
        String cause = e.getCause() == null ? "" : " (" + e.getCause().getMessage() + ")";
        end = e.getMessage() + cause;
        String distrust = distrust(e);
        if (distrust != null) {
          end = "the server is not trusted: " + distrust;
          server.fault = NOT_TRUSTED;
        } else if (isFinal(e)) {
          end = e.getStatus().getDescription();
          server.fault =
              switch (e.getStatus().getCode()) {
                case UNAUTHENTICATED, PERMISSION_DENIED -> NOT_LET_IN;
                default -> 1;
              };
        }
        // That one is no server to talk to says nothing of the others.
        boolean saysNothing = distrust != null || e.getStatus().getCode() == Code.UNIMPLEMENTED;
        boolean goesOn = saysNothing && servers.stream().anyMatch(it -> it.fault == 0);
        if (server.fault != 0 && !goesOn) {
          System.err.println(clean(end));
          return server.fault;
        }
      }
      if (isFinished()) {
        return failed ? 1 : 0;
      }
      String named = servers.size() > 1 ? server.target + ": " : "";
      System.err.println(clean(named + end) + "; trying again");
      if (clock() - since > MAX_BACKOFF) {
        server.backoff = MIN_BACKOFF; // the connection was worth something
        for (Server each : servers) { // all are as good again, else all clients would go round in one order
          each.due = Math.max(each.due, clock() - ThreadLocalRandom.current().nextLong(MAX_BACKOFF));
        }
      }
      since = NEVER;
      long pause = reconnectAfter;
      if (pause == 0) {
        pause = (long) (server.backoff * ThreadLocalRandom.current().nextDouble(0.8, 1.2));
        server.backoff = Math.min(2 * server.backoff, MAX_BACKOFF);
      }
      server.due = clock() + pause;
      servers.sort(Comparator.comparingLong(it -> it.due));
      long spread = ThreadLocalRandom.current().nextLong(SPREAD);
      Thread.sleep(Math.max(servers.get(0).due - clock(), spread));
      servers.get(0).channel.enterIdle(); // ends gRPC's own backoff, which grows to two minutes
    }
  }

  /** Why the server's certificate does not do; null if it is not that. */
  private static String distrust(Throwable error) {
    for (Throwable cause = error; cause != null; cause = cause.getCause()) {
      if (cause instanceof CertificateException) {
        return reason(cause);
      }
    }
    return null;
  }

  /** What the innermost cause says, which is the only one that names the fault. */
  private static String reason(Throwable fault) {
    while (fault.getCause() != null) {
      fault = fault.getCause();
    }
    String expired = fault instanceof CertificateExpiredException ? "its certificate has expired: " : "";
    return expired + fault.getMessage();
  }

  /** Whether it would be the same again; keeps what the server says of when to come back. */
  private boolean isFinal(StatusException e) {
    ErrorInfo info = ErrorInfo.getDefaultInstance();
    try {
      for (Any detail : StatusProto.fromThrowable(e).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          info = detail.unpack(ErrorInfo.class);
        } else if (detail.is(RetryInfo.class)) {
          reconnectAfter = Durations.toMillis(detail.unpack(RetryInfo.class).getRetryDelay());
        }
      }
    } catch (IllegalArgumentException | InvalidProtocolBufferException madeBySomethingBetween) {
      // As if there were no details.
    }
    if (info.getDomain().equals("bcast_grpc")) {
      if (info.getReason().equals("TOKEN_EXPIRED") && tokenFile != null) {
        return false; // by the next call, the file may hold another one
      }
      return "false".equals(info.getMetadataMap().get("retryable"));
    }
    return switch (e.getStatus().getCode()) {
      // No such server, or not let in. What a proxy says while the server is away proves nothing.
      case UNIMPLEMENTED, UNAUTHENTICATED, PERMISSION_DENIED ->
          epoch == null || !HTTP_STATUS.matcher(String.valueOf(e.getMessage())).find();
      default -> false;
    };
  }

  /** Makes the call, and prints what comes until it ends. */
  private void talk(ManagedChannel channel)
      throws IOException, InterruptedException, StatusException {
    reconnectAfter = 0;
    moving = false;
    if (epoch != null) {
      headers.put("bcast-after", epoch + ":" + place);
    }
    try {
      readToken();
    } catch (IOException e) {
      // The last one may still do.
    }
    if (token != null) {
      headers.put("authorization", "Bearer " + token);
    }
    Metadata metadata = new Metadata();
    headers.forEach(
        (key, value) -> metadata.put(Metadata.Key.of(key, ASCII_STRING_MARSHALLER), value));
    BlockingClientCall<ConnectRequest, ConnectResponse> call =
        ChatGrpc.newBlockingV2Stub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
            .connect();
    Thread writer = start(() -> write(call));
    try {
      for (ConnectResponse frame; (frame = call.read()) != null; ) {
        List<ConnectResponse> batch = frame.getBatchList();
        for (ConnectResponse event : batch.isEmpty() ? List.of(frame) : batch) {
          handle(event);
          print(event);
        }
        if (System.out.checkError()) { // which flushes, too
          Runtime.getRuntime().halt(BROKEN_PIPE); // nobody reads it
        }
        if (moving) {
          call.cancel("moving to another server", null);
          return;
        }
      }
    } finally {
      writer.interrupt();
      writer.join();
      if (renewal != null) {
        renewal.interrupt();
        renewal.join();
      }
      update(
          () -> {
            connected = false;
            pending.forEach(entry -> entry.due = clock());
          });
    }
  }

  private void handle(ConnectResponse event) {
    switch (event.getKind()) {
      case EVENT_KIND_WELCOME -> {
        String current = event.getWelcome().getEpoch();
        if (!current.equals(epoch)) {
          place = epoch == null ? event.getSeq() : 0; // of a new order, all is still to come
          epoch = current;
        }
        since = clock();
        update(() -> connected = true);
      }
      case EVENT_KIND_MESSAGE, EVENT_KIND_PROGRESS -> place = event.getSeq();
      case EVENT_KIND_ACK -> {
        if (event.getAck().getEpoch().equals(epoch) && event.getAck().getSeq() == place + 1) {
          place++; // one's own messages are not heard, but passed
        }
        answered(event);
      }
      case EVENT_KIND_MEMBERS, EVENT_KIND_ERROR -> answered(event);
      case EVENT_KIND_GAP -> {
        if (event.getGap().getReason() == GapReason.GAP_REASON_NEW_EPOCH) {
          place = 0;
        } else if (event.getGap().getLastMissed() != 0) {
          place = event.getGap().getLastMissed();
        }
      }
      case EVENT_KIND_EXPIRING -> {
        if (tokenFile != null) {
          renewal = start(this::renew);
        }
      }
      case EVENT_KIND_CLOSING ->
          reconnectAfter = Durations.toMillis(event.getClosing().getReconnectAfter());
      default -> {}
    }
  }

  private void print(ConnectResponse event) throws InvalidProtocolBufferException {
    if (json) {
      System.out.println(PRINTER.print(event));
      return;
    }
    switch (event.getKind()) {
      case EVENT_KIND_WELCOME, EVENT_KIND_ACK, EVENT_KIND_PROGRESS, EVENT_KIND_EXPIRING -> {}
      case EVENT_KIND_ERROR -> {
        if (!event.getError().getRetryable()) {
          System.err.println(clean(event.getMessage()));
        }
      }
      default -> System.out.println(clean(event.getMessage()));
    }
  }

  /** Takes the request that was answered off the list, or sends it again later. */
  private synchronized void answered(ConnectResponse event) {
    failed |= event.hasError() && !event.getError().getRetryable();
    for (Pending entry : pending) {
      // Bytes, since half a surrogate pair is sent as "?".
      if (entry.due == NEVER && entry.request.getIdBytes().equals(event.getIdBytes())) {
        if (event.getMembers().getMore()) {
          return; // the next part is the answer, or the one after that
        } else if (!event.getError().getRetryable()) {
          pending.remove(entry);
        } else {
          Error error = event.getError();
          long wait = error.hasRetryAfter() ? Durations.toMillis(error.getRetryAfter()) : 1000;
          entry.due = clock() + wait;
          if (error.getCode() == ErrorCode.ERROR_CODE_BROKER_UNAVAILABLE && hasOther()) {
            moving = true;
            reconnectAfter = wait;
          }
        }
        notifyAll();
        return;
      }
    }
  }

  /** Whether another server may be called now. */
  private boolean hasOther() {
    return servers.stream().skip(1).anyMatch(it -> it.due <= clock());
  }

  /** Sends what is pending, until it is time to half-close or the call has ended. */
  private void write(BlockingClientCall<ConnectRequest, ConnectResponse> call) {
    try {
      if (!joins()) {
        call.cancel("the server did not answer in time", null);
        return;
      }
      for (ConnectRequest frame; (frame = nextFrame()) != null; ) {
        if (!call.write(frame)) {
          return;
        }
      }
      call.halfClose();
      Thread.sleep(MAX_LEAVING);
      call.cancel("the server did not end the call", null);
    } catch (InterruptedException | StatusException e) {
      // The call has ended; whoever reads it is told why.
    }
  }

  /** Waits until the server has let us in; says whether it did so in time. */
  private synchronized boolean joins() throws InterruptedException {
    long end = clock() + MAX_JOINING;
    for (long left; !connected && (left = end - clock()) > 0; ) {
      wait(left);
    }
    return connected;
  }

  /** Waits for something to send, and returns all there is; null when it is time to half-close. */
  private synchronized ConnectRequest nextFrame() throws InterruptedException {
    while (!isFinished()) {
      long now = clock();
      long next = NEVER;
      ConnectRequest.Builder frame = ConnectRequest.newBuilder();
      int underWay = pending.stream().filter(it -> it.due == NEVER).mapToInt(Pending::size).sum();
      for (Pending entry : pending) {
        if (entry.due > now) {
          next = Math.min(next, entry.due);
        } else if (underWay > 0 && underWay + entry.size() > MAX_UNDER_WAY) {
          break; // until something is answered
        } else if (entry.request.getBatchCount() == 0) {
          frame.addBatch(entry.request);
          entry.due = NEVER;
          underWay += entry.size();
        } else if (frame.getBatchCount() == 0) {
          pending.remove(entry); // the user's own batch goes alone, and only once
          notifyAll();
          return entry.request;
        } else {
          break;
        }
      }
      if (frame.getBatchCount() > 0) {
        pending.removeIf(it -> it.due == NEVER && it.request.getId().isEmpty());
        return frame.getBatchCount() == 1 ? frame.getBatch(0) : frame.build();
      }
      wait(next == NEVER ? 0 : next - now);
    }
    return null;
  }

  private synchronized boolean isFinished() {
    return leaving || (inputEnded && pending.isEmpty());
  }

  private synchronized void update(Runnable change) {
    change.run();
    notifyAll();
  }

  /** Half-closes, and waits for the end of the stream, two seconds at most. */
  private synchronized void leave() {
    update(() -> leaving = true);
    long end = clock() + 2000;
    try {
      for (long left; connected && (left = end - clock()) > 0; ) {
        wait(left);
      }
    } catch (InterruptedException e) {
      // Nobody interrupts this thread.
    }
  }

  private void readInput() {
    String mark = "\uFEFF"; // a byte order mark, which may come first
    try {
      for (String line; !inputEnded && (line = readLine(System.in)) != null; mark = "") {
        if (line.startsWith(mark)) {
          line = line.substring(mark.length());
        }
        if (line.getBytes(UTF_8).length > MAX_LINE) {
          notSent("a line longer than " + MAX_LINE + " bytes");
        } else if (!line.isEmpty()) {
          enqueue(line);
        }
      }
    } catch (IOException | InterruptedException e) {
      System.err.println(e);
    }
    update(() -> inputEnded = true);
  }

  private void notSent(String why) {
    System.err.println("not sent: " + clean(why));
    failed = true;
  }

  /** Puts a request on the list, and waits until there is room for the next one. */
  private void enqueue(String line) throws InterruptedException {
    ConnectRequest.Builder request = ConnectRequest.newBuilder().setMsg(line);
    if (json) {
      try {
        PARSER.merge(line, request.clear());
      } catch (InvalidProtocolBufferException e) {
        notSent(e.getMessage());
        return;
      }
    }
    count++;
    if (request.getId().isEmpty() && request.getBatchCount() == 0) {
      request.setId("#" + count);
    }
    synchronized (this) {
      pending.add(new Pending(request.build()));
      inputEnded = leaves(request) || request.getBatchBuilderList().stream().anyMatch(Chat::leaves);
      notifyAll();
      while (pending.size() >= MAX_PENDING) {
        wait();
      }
    }
  }

  private static boolean leaves(ConnectRequestOrBuilder request) {
    return request.getOperacion().equals("leave");
  }

  /** Returns the next line, cut where it is too long; null at the end. */
  private static String readLine(InputStream in) throws IOException {
    ByteArrayOutputStream line = new ByteArrayOutputStream();
    int next;
    while ((next = in.read()) >= 0 && next != '\n') {
      if (line.size() <= MAX_LINE + MARGIN) {
        line.write(next);
      }
    }
    return next < 0 && line.size() == 0 ? null : line.toString(UTF_8).replaceFirst("\r$", "");
  }

  /** Shows what comes from strangers without newlines and escape sequences. */
  private static String clean(String text) {
    return CONTROL.matcher(String.valueOf(text)).replaceAll("\uFFFD");
  }

  private static long clock() {
    return System.nanoTime() / 1_000_000;
  }

  private static Thread start(Runnable task) {
    Thread thread = new Thread(task);
    thread.setDaemon(true);
    thread.start();
    return thread;
  }
}
