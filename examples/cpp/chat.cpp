// A terminal chat over bcast_grpc: lines in are messages, messages are lines out. It comes back by itself, and goes on
// where it was.
#include <absl/status/status.h>
#include <bcast_grpc/v1/chat.grpc.pb.h>
#include <getopt.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "status.pb.h"

namespace v1 = bcast_grpc::v1;
namespace util = google::protobuf::util;
using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;
using namespace std::chrono_literals;

constexpr size_t kMaxLineBytes = 100'000;
constexpr size_t kMaxPending = 32;
// Bytes, or one request: on a slow line all else waits behind them, answers to pings too.
constexpr size_t kMaxUnderWay = 65'536;
constexpr nanoseconds kFirstBackoff = 100ms, kMaxBackoff = 5s, kMaxJoining = 10s, kMaxLeaving = 10s;
constexpr nanoseconds kSpread = 100ms;  // so that those who lost a server do not all come to the next one at once
constexpr int kNotTrusted = 69, kNotLetIn = 77;
constexpr int kBrokenPipe = 128 + SIGPIPE;

// The UTF-8 character that `text` begins with; empty if it begins with none.
std::string_view FirstCharacter(std::string_view text) {
  static constexpr std::string_view kLeast[] = {{}, "\u0080", "\u0800", "\U00010000"};
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const auto character = text.substr(0, length);
  const bool whole = character.size() == length &&
                     std::all_of(character.begin() + 1, character.end(), [](char c) { return (c & 0xC0) == 0x80; });
  const bool surrogate = character >= "\xED\xA0" && character < "\xEE";
  const bool valid = whole && !surrogate && character >= kLeast[length - 1] && character <= "\U0010FFFF";
  return valid ? character : std::string_view();
}

// `text` with U+FFFD for what is not UTF-8 and, unless they are kept, for control characters.
std::string Clean(std::string_view text, bool keep_controls = false) {
  std::string clean;
  while (!text.empty()) {
    const auto character = FirstCharacter(text);
    const bool control = character < " " || (character >= "\x7F" && character < "\u00A0");
    clean += character.empty() || (control && !keep_controls) ? "\uFFFD" : character;
    text.remove_prefix(std::max<size_t>(character.size(), 1));
  }
  return clean;
}

std::string PercentEncode(std::string_view text) {
  std::string encoded;
  for (const unsigned char c : text) {
    char escape[4];
    std::snprintf(escape, sizeof escape, std::isalnum(c) ? "%c" : "%%%02X", c);
    encoded += escape;
  }
  return encoded;
}

std::string RandomUuid() {
  std::random_device random;
  char uuid[37];
  std::snprintf(uuid, sizeof uuid, "%08x-%04x-4%03x-%04x-%08x%04x", random(), random() & 0xFFFF, random() & 0xFFF,
                0x8000 | (random() & 0x3FFF), random(), random() & 0xFFFF);
  return uuid;
}

void Complain(std::string_view text) { std::cerr << Clean(text) + "\n"; }

bool IsLoopback(const std::string& target) {
  static const std::regex pattern(R"((dns:/*|ipv[46]:)?(localhost\.?|127(\.\d+){1,3}|\[::1\])(:\d+)?)",
                                  std::regex::icase);
  return std::regex_match(target, pattern);
}

bool IsLeave(const v1::ConnectRequest& request) {
  return request.operacion() == "leave" || std::any_of(request.batch().begin(), request.batch().end(), IsLeave);
}

// Ends the program where nobody reads its output any more, also while there is nothing to print.
void WatchOutput() {
  pollfd output{STDOUT_FILENO, 0, 0};
  while (poll(&output, 1, -1) < 0 && errno == EINTR) {
  }
  if (output.revents & POLLERR) std::_Exit(kBrokenPipe);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file) throw std::runtime_error(path + ": cannot be read");
  return text;
}

// TLS where the target or a file asks for it; without a CA gRPC takes the system's.
std::shared_ptr<grpc::ChannelCredentials> Credentials(bool secure, const std::string& ca, const std::string& cert,
                                                      const std::string& key) {
  if (!secure && ca.empty() && cert.empty() && key.empty()) return grpc::InsecureChannelCredentials();
  if (cert.empty() != key.empty()) throw std::runtime_error("--tls-cert and --tls-key go together");
  grpc::SslCredentialsOptions options;
  if (!ca.empty()) options.pem_root_certs = ReadFile(ca);
  if (!cert.empty()) options.pem_cert_chain = ReadFile(cert);
  if (!key.empty()) options.pem_private_key = ReadFile(key);
  return grpc::SslCredentials(options);
}

// What shows who we are: from a file, which may get another one, or from the environment.
class Token {
 public:
  explicit Token(std::string file) : file_(std::move(file)) {
    if (const char* token = std::getenv("BCAST_TOKEN")) text_ = token;
    if (has_file()) text_ = Stripped(ReadFile(file_));
  }

  bool has_file() const { return !file_.empty(); }
  const std::string& text() const { return text_; }

  // Takes what the file holds now, if that can be read; returns whether that is another one.
  bool Read() {
    if (!has_file()) return false;
    try {
      return std::exchange(text_, Stripped(ReadFile(file_))) != text_;
    } catch (const std::runtime_error&) {
      return false;
    }
  }

 private:
  static std::string Stripped(const std::string& text) {
    const auto end = text.find_last_not_of(" \t\r\n");
    return text.substr(0, end == std::string::npos ? 0 : end + 1);
  }

  const std::string file_;
  std::string text_;
};

// One of those that share the rooms.
struct Server {
  std::string target;
  Clock::time_point due{};  // when to call it
  nanoseconds backoff = kFirstBackoff;
  int fault = 0;  // the exit code, where what is there is no server to talk to
};

class Chat {
 public:
  Chat(std::vector<Server> servers, std::shared_ptr<grpc::ChannelCredentials> credentials, Token token,
       std::multimap<std::string, std::string> metadata, bool json)
      : servers_(std::move(servers)),
        credentials_(std::move(credentials)),
        metadata_(std::move(metadata)),
        json_(json),
        token_(std::move(token)) {}

  // Stays connected; returns the exit code.
  int Run() {
    std::mt19937 random(std::random_device{}());
    std::uniform_real_distribution<> part(0, 1);
    std::shuffle(servers_.begin(), servers_.end(), random);
    for (;;) {
      const grpc::Status status = Session();
      auto& server = servers_.front();
      const auto [end, code] = Judge(status);
      std::unique_lock lock(mutex_);
      if (interrupted_) return 130;
      if (code != 0) Complain(end);
      if (code != 0) return code;
      if (Idle()) return failed_;
      lock.unlock();
      Complain((servers_.size() > 1 ? server.target + ": " : "") + end + "; trying again");
      if (welcomed_ && Clock::now() - since_ > kMaxBackoff) {
        server.backoff = kFirstBackoff;  // it was worth something
        for (auto& each : servers_) {    // all are as good again, else all clients would go round in one order
          const auto ago = std::chrono::duration_cast<nanoseconds>(kMaxBackoff * part(random));
          each.due = std::max(each.due, Clock::now() - ago);
        }
      }
      auto wait = reconnect_after_;
      if (wait == 0ns) {
        wait = std::chrono::duration_cast<nanoseconds>(server.backoff * (0.8 + 0.4 * part(random)));
        server.backoff = std::min(server.backoff * 2, kMaxBackoff);
      }
      server.due = Clock::now() + wait;
      std::sort(servers_.begin(), servers_.end(), [](const auto& a, const auto& b) { return a.due < b.due; });
      const auto spread = std::chrono::duration_cast<nanoseconds>(kSpread * part(random));
      const auto due = std::max(servers_.front().due, Clock::now() + spread);
      lock.lock();
      if (changed_.wait_until(lock, due, [this] { return Idle(); })) return failed_;
    }
  }

  // Runs in a thread of its own, as it waits where nothing can wake it.
  void ReadInput() {
    std::string_view mark = "\uFEFF";  // a byte order mark, which may come first
    for (int c = 0; c != EOF && !input_ended_; mark = {}) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return pending_.size() < kMaxPending; });
      }
      std::string line;
      while ((c = std::getchar()) != EOF && c != '\n') {
        if (line.size() <= kMaxLineBytes + mark.size() + 1) line += static_cast<char>(c);
      }
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (!mark.empty() && line.rfind(mark, 0) == 0) line.erase(0, mark.size());
      if (!line.empty()) Take(Clean(line, true));
    }
    Change([this] { input_ended_ = true; });
  }

  // Runs in a thread of its own. SIGINT has to be blocked in all threads.
  void AwaitInterrupt(const sigset_t& signals) {
    int signal;
    sigwait(&signals, &signal);
    Change([this] {
      if (!connected_) std::_Exit(130);
      interrupted_ = true;
    });
    std::this_thread::sleep_for(2s);
    std::_Exit(130);
  }

 private:
  using Stream = grpc::ClientReaderWriter<v1::ConnectRequest, v1::ConnectResponse>;

  struct Request {
    v1::ConnectRequest request;
    Clock::time_point due{};  // when to send it; kSent once it is on its way
  };

  static constexpr auto kNever = Clock::time_point::max();
  static constexpr auto kSent = kNever;

  static bool IsUntrusted(const grpc::Status& status) {
    static const std::regex pattern("certificate.verify.failed|peer certificate", std::regex::icase);
    return status.error_code() == grpc::UNAVAILABLE && std::regex_search(status.error_message(), pattern);
  }

  // Why a call ended, and the exit code if there is no server where the next one might not.
  std::pair<std::string, int> Judge(const grpc::Status& status) {
    auto& server = servers_.front();
    const auto code = status.error_code();
    const bool final = IsFinal(status), untrusted = IsUntrusted(status);
    std::string end = absl::StatusCodeToString(static_cast<absl::StatusCode>(code)) + ": ";
    end += moving_ ? "the server has lost its store"
           : late_ ? "the server did not answer in time"
                   : status.error_message();
    if (status.ok()) end += "though we did not leave";
    if (untrusted) end = "the server is not trusted: " + status.error_message();
    if (final) end = status.error_message();
    const bool refused = code == grpc::UNAUTHENTICATED || code == grpc::PERMISSION_DENIED;
    server.fault = untrusted ? kNotTrusted : !final ? 0 : refused ? kNotLetIn : 1;
    // That one is no server to talk to says nothing of the others.
    const bool goes_on = (untrusted || code == grpc::UNIMPLEMENTED) &&
                         std::any_of(servers_.begin(), servers_.end(), [](const auto& it) { return it.fault == 0; });
    return {end, goes_on ? 0 : server.fault};
  }

  // Whether another server may be called now.
  bool HasOther() const {
    return std::any_of(servers_.begin() + 1, servers_.end(), [](const auto& it) { return it.due <= Clock::now(); });
  }

  // Whether the next call would end in the same way; keeps what the server says of when to make it.
  bool IsFinal(const grpc::Status& status) {
    static const std::regex http_status("http.* status", std::regex::icase);  // so gRPC tells of one that a proxy said
    google::rpc::Status details;
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    details.ParseFromString(status.error_details());
    for (const auto& detail : details.details()) {
      detail.UnpackTo(&info);
      if (detail.UnpackTo(&retry)) reconnect_after_ = Nanoseconds(retry.retry_delay());
    }
    if (info.domain() == "bcast_grpc") {
      if (info.reason() == "TOKEN_EXPIRED" && token_.has_file()) return false;  // the file may get another one
      const auto retryable = info.metadata().find("retryable");
      return retryable != info.metadata().end() && retryable->second == "false";
    }
    switch (status.error_code()) {
      case grpc::UNIMPLEMENTED:
      case grpc::UNAUTHENTICATED:
      case grpc::PERMISSION_DENIED:
        // What a proxy says while the server is away proves nothing.
        return epoch_.empty() || !std::regex_search(status.error_message(), http_status);
      default:
        return false;
    }
  }

  // One connection, to its end.
  grpc::Status Session() {
    grpc::ChannelArguments arguments;
    // A ping where nothing has come for 10 s, and the end where nothing answers it for 20 s. On a slow line pings and
    // their answers wait behind all that was sent before, so that is little: a window of a fixed size, instead of one
    // that gRPC finds out by pings of its own.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
    arguments.SetInt("grpc.http2.ping_timeout_ms", 20'000);      // it is this one in newer releases
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // there is no bound
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 65'535);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // we try again; gRPC would at once, while a proxy goes away
    const auto& target = servers_.front().target;
    if (IsLoopback(target)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a proxy's loopback is another one
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a new connection, not the last one and its backoff
    const auto stub =
        v1::Chat::NewStub(grpc::CreateCustomChannel(target, credentials_, arguments));

    grpc::ClientContext context;
    for (const auto& [key, value] : metadata_) context.AddMetadata(key, value);
    if (!epoch_.empty()) context.AddMetadata("bcast-after", epoch_ + ":" + std::to_string(seq_));
    token_.Read();
    if (!token_.text().empty()) context.AddMetadata("authorization", "Bearer " + token_.text());
    renew_at_ = kNever;
    welcomed_ = moving_ = late_ = false;
    reconnect_after_ = 0ns;
    bool over = false;
    std::thread watch([&] {  // nobody else can tell that a server does not answer; the call waits for its connection
      std::unique_lock lock(mutex_);
      late_ = !changed_.wait_for(lock, kMaxJoining, [&] { return welcomed_ || over; });
      if (late_) context.TryCancel();
    });
    const auto stream = stub->Connect(&context);
    Change([this] {
      connected_ = true;
      for (auto& pending : pending_) pending.due = {};
    });
    std::thread writer([&] { WriteRequests(context, *stream); });
    v1::ConnectResponse frame;
    while (stream->Read(&frame)) {
      if (frame.batch().empty()) Handle(frame);
      for (const auto& event : frame.batch()) Handle(event);
      if (!std::cout.flush()) std::_Exit(errno == EPIPE ? kBrokenPipe : 1);
      if (moving_) context.TryCancel();
    }
    Change([&] {
      connected_ = false;
      over = true;
    });
    writer.join();
    watch.join();
    return stream->Finish();
  }

  void WriteRequests(grpc::ClientContext& context, Stream& stream) {
    std::unique_lock lock(mutex_);
    while (connected_) {
      if (interrupted_ || Idle()) {
        lock.unlock();
        stream.WritesDone();
        lock.lock();
        if (!changed_.wait_for(lock, kMaxLeaving, [this] { return !connected_; })) context.TryCancel();
        return;
      }
      auto next = Clock::now() + 1h;
      if (renew_at_ <= Clock::now()) Renew();
      next = std::min(next, renew_at_);
      const auto frame = NextFrame(next);
      if (!frame) {
        changed_.wait_until(lock, next);
        continue;
      }
      lock.unlock();
      if (!stream.Write(*frame)) return;
      lock.lock();
    }
  }

  // Sends the token that is in the file; if it is still the old one, looks again later.
  void Renew() {
    const bool renewed = token_.Read();
    renew_at_ = renewed ? kNever : Clock::now() + 1s;
    if (!renewed) return;
    Request renewal;
    renewal.request.set_operacion("auth");
    renewal.request.set_msg(token_.text());
    pending_.push_front(std::move(renewal));  // without an id, nothing answers
  }

  // What is due and has room, in one frame; else nothing, and when more is due. A batch of the user's own goes alone, and
  // is done with.
  std::optional<v1::ConnectRequest> NextFrame(Clock::time_point& next) {
    v1::ConnectRequest frame;
    size_t under_way = 0;
    for (const auto& pending : pending_) under_way += pending.due == kSent ? pending.request.ByteSizeLong() : 0;
    for (auto it = pending_.begin(), after = it; it != pending_.end(); it = after) {
      after = std::next(it);
      if (it->due > Clock::now()) {
        next = std::min(next, it->due);
        continue;
      }
      const size_t size = it->request.ByteSizeLong();
      if (under_way > 0 && under_way + size > kMaxUnderWay) break;  // until something is answered
      under_way += size;
      if (!it->request.batch().empty()) {
        if (!frame.batch().empty()) break;
        frame = std::move(it->request);
        pending_.erase(it);
        changed_.notify_all();
        return frame;
      }
      *frame.add_batch() = it->request;
      it->due = kSent;
      if (it->request.id().empty()) pending_.erase(it);
    }
    if (frame.batch().empty()) return std::nullopt;
    return frame.batch_size() == 1 ? v1::ConnectRequest(frame.batch(0)) : frame;
  }

  void Take(const std::string& line) {
    v1::ConnectRequest request;
    if (line.size() > kMaxLineBytes) return Refuse("a line is longer than 100000 bytes");
    if (!json_) {
      request.set_msg(line);
    } else if (const auto status = util::JsonStringToMessage(line, &request); !status.ok()) {
      std::string text = status.ToString();
      std::replace(text.begin(), text.end(), '\n', ' ');
      return Refuse(text);
    }
    ++taken_;
    if (request.id().empty() && request.batch().empty()) request.set_id("#" + std::to_string(taken_));
    Change([&] {
      input_ended_ = IsLeave(request);
      pending_.push_back({std::move(request)});
    });
  }

  void Refuse(const std::string& why) {
    Complain("not sent: " + why);
    failed_ = true;
  }

  void Handle(const v1::ConnectResponse& event) {
    switch (event.kind()) {
      case v1::EVENT_KIND_WELCOME:
        if (event.welcome().epoch() != epoch_) {
          seq_ = epoch_.empty() ? event.seq() : 0;  // of a new order, all is still to come
          epoch_ = event.welcome().epoch();
        }
        Change([this] { welcomed_ = true; });
        since_ = Clock::now();
        break;
      case v1::EVENT_KIND_MESSAGE:
      case v1::EVENT_KIND_PROGRESS:
        seq_ = event.seq();
        break;
      case v1::EVENT_KIND_ACK:  // one's own messages do not come, but have a place
        if (event.ack().epoch() == epoch_ && event.ack().seq() == seq_ + 1) ++seq_;
        Answer(event);
        break;
      case v1::EVENT_KIND_MEMBERS:
      case v1::EVENT_KIND_ERROR:
        Answer(event);
        break;
      case v1::EVENT_KIND_GAP:
        if (event.gap().last_missed() != 0) seq_ = event.gap().last_missed();
        if (event.gap().reason() == v1::GAP_REASON_NEW_EPOCH) seq_ = 0;
        break;
      case v1::EVENT_KIND_EXPIRING:
        if (token_.has_file()) Change([this] { renew_at_ = Clock::now(); });
        break;
      case v1::EVENT_KIND_CLOSING:
        reconnect_after_ = Nanoseconds(event.closing().reconnect_after());
        break;
      default:
        break;
    }
    Print(event);
  }

  void Answer(const v1::ConnectResponse& event) {
    const auto& error = event.error();
    if (event.has_error() && !error.retryable()) failed_ = true;
    if (event.members().more()) return;
    Change([&] {
      const auto it = std::find_if(pending_.begin(), pending_.end(), [&](const Request& pending) {
        return pending.request.batch().empty() && pending.request.id() == event.id();
      });
      if (it == pending_.end()) return;
      if (error.retryable()) {
        const nanoseconds wait = error.has_retry_after() ? Nanoseconds(error.retry_after()) : 1s;
        it->due = Clock::now() + wait;
        if (error.code() == v1::ERROR_CODE_BROKER_UNAVAILABLE && HasOther()) {
          moving_ = true;
          reconnect_after_ = wait;
        }
      } else {
        pending_.erase(it);
      }
    });
  }

  void Print(const v1::ConnectResponse& event) const {
    const auto kind = event.kind();
    if (json_) {
      util::JsonPrintOptions options;
      options.preserve_proto_field_names = true;
      std::string line;
      if (util::MessageToJsonString(event, &line, options).ok()) std::cout << line << '\n';
    } else if (kind == v1::EVENT_KIND_ERROR) {
      if (!event.error().retryable()) Complain(event.message());
    } else if (kind != v1::EVENT_KIND_WELCOME && kind != v1::EVENT_KIND_ACK && kind != v1::EVENT_KIND_PROGRESS &&
               kind != v1::EVENT_KIND_EXPIRING) {
      std::cout << Clean(event.message()) << '\n';
    }
  }

  static nanoseconds Nanoseconds(const google::protobuf::Duration& duration) {
    return nanoseconds(util::TimeUtil::DurationToNanoseconds(duration));
  }

  template <typename Action>
  void Change(Action action) {
    std::lock_guard lock(mutex_);
    action();
    changed_.notify_all();
  }

  bool Idle() const { return input_ended_ && pending_.empty(); }

  std::vector<Server> servers_;  // the one in use comes first; of the thread that runs Run()
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  const std::multimap<std::string, std::string> metadata_;
  const bool json_;

  // Of the thread that runs Run().
  std::string epoch_;
  uint64_t seq_ = 0;
  bool moving_ = false;  // to another server, as this one has lost its store
  Clock::time_point since_;  // of the last welcome
  nanoseconds reconnect_after_ = 0ns;

  // Of the thread that runs ReadInput().
  uint64_t taken_ = 0;

  // Of all threads.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Request> pending_;
  Token token_;                          // read between the calls, and by WriteRequests()
  Clock::time_point renew_at_ = kNever;  // when to look for a new token
  bool input_ended_ = false, connected_ = false, interrupted_ = false;
  bool welcomed_ = false, late_ = false;  // of the call in use
  std::atomic<bool> failed_ = false;  // something was not sent
};

int main(int argc, char* argv[]) {
  setenv("GRPC_VERBOSITY", "NONE", 0);  // what gRPC would log comes as a status, too
  std::multimap<std::string, std::string> metadata{
      {"bcast-client", RandomUuid()}, {"bcast-events", "all"}, {"bcast-batch", "1"}};
  int json = 0;
  const option options[] = {{"name", required_argument, nullptr, 'n'},
                            {"room", required_argument, nullptr, 'r'},
                            {"json", no_argument, &json, 1},
                            {"token-file", required_argument, nullptr, 't'},
                            {"tls-ca", required_argument, nullptr, 'a'},
                            {"tls-cert", required_argument, nullptr, 'c'},
                            {"tls-key", required_argument, nullptr, 'k'},
                            {}};
  opterr = 0;
  bool usage = false;
  std::map<int, std::string> files;
  for (int option; (option = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
    if (option == '?') usage = true;
    if (option != 0) files[option] = optarg ? optarg : "";
    if (option == 'n') metadata.emplace("bcast-name", PercentEncode(optarg));
    if (option == 'r') metadata.emplace("bcast-room", PercentEncode(optarg));
  }
  if (usage || argc - optind > 1) {
    std::cerr << "usage: chat [--name NAME] [--room ROOM] [--json] [--token-file FILE]"
                 " [--tls-ca FILE] [--tls-cert FILE --tls-key FILE] [TARGET[,TARGET]...]\n";
    return 2;
  }

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  const std::string targets = optind < argc ? argv[optind] : "127.0.0.1:50051";
  const bool secure = targets.find("grpcs://") != std::string::npos;
  static const std::regex target("\\s*(grpcs?://)?(\\S*)\\s*");
  std::vector<Server> servers;
  std::stringstream each(targets + ",");
  for (std::string text; std::getline(each, text, ',');) {
    if (std::smatch found; std::regex_match(text, found, target)) text = found[2];
    if (text.empty()) {
      Complain("target: '" + targets +
               "' has an empty address; it must be HOST:PORT, or several with commas between them");
      return 2;
    }
    servers.push_back({text});
  }
  std::optional<Chat> made;
  try {
    made.emplace(std::move(servers), Credentials(secure, files['a'], files['c'], files['k']), Token(files['t']),
                 std::move(metadata), json != 0);
  } catch (const std::runtime_error& error) {
    Complain(error.what());
    return 2;
  }
  Chat& chat = *made;
  std::thread([&] { chat.ReadInput(); }).detach();
  std::thread([&] { chat.AwaitInterrupt(signals); }).detach();
  std::thread(WatchOutput).detach();
  std::_Exit(chat.Run());  // no destructor, as the threads still run; all output is flushed
}
