// Drives a server with ordinary C++ gRPC clients, verifies every delivery, and prints one line of JSON.
//
// Ordinary: generated stubs, gRPC's callback API, default options, one message a frame. Every client has a connection
// of its own. Each delivery is checked: once, in its author's order, to all but the author. The clock runs from the
// first message sent to the last delivery arrived. Flags and results are those of the load in Go, as far as they apply.
#include <bcast_grpc/v1/chat.grpc.pb.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace v1 = bcast_grpc::v1;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr auto kPatience = 20s;
// A payload is text: the author, the author's count, and the time sent in nanoseconds, padded with dots.
constexpr int kAuthorDigits = 4, kCountDigits = 10, kTimeDigits = 16;

struct Options {
  std::string addr;
  int pid = 0;
  size_t clients = 100;
  size_t senders = 1;
  size_t size = 64;
  int64_t window = 8192;  // messages in flight in all, at the most
  Seconds duration = 3s;
};

Options Parse(int argc, char** argv) {
  std::map<std::string, std::string> flags;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto equals = word.find('=');
    if (word[0] == '-' && equals != std::string::npos) flags[word.substr(1, equals - 1)] = word.substr(equals + 1);
  }
  const auto number = [&flags](const char* name, double otherwise) {
    return flags.contains(name) ? std::strtod(flags[name].c_str(), nullptr) : otherwise;
  };
  Options options;
  options.addr = flags["addr"];
  options.pid = static_cast<int>(number("pid", 0));
  options.clients = static_cast<size_t>(number("clients", 100));
  options.senders = static_cast<size_t>(number("senders", 1));
  options.size = static_cast<size_t>(number("size", 64));
  options.window = static_cast<int64_t>(number("window", 8192));
  options.duration = Seconds(number("duration", 3));
  return options;
}

int64_t Now() { return std::chrono::nanoseconds(Clock::now().time_since_epoch()).count(); }

// What went wrong, of all clients.
class Faults {
 public:
  void Add(const std::string& text) {
    std::lock_guard lock(mutex_);
    if (count_++ == 0) first_ = text;
  }
  std::pair<int64_t, std::string> Get() {
    std::lock_guard lock(mutex_);
    return {count_, first_};
  }

 private:
  std::mutex mutex_;
  int64_t count_ = 0;
  std::string first_;
};

class Client final : public grpc::ClientBidiReactor<v1::ConnectRequest, v1::ConnectResponse> {
 public:
  Client(const Options& options, size_t index, Faults& faults)
      : received(options.senders), options_(options), index_(index), faults_(faults) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub_ = v1::Chat::NewStub(grpc::CreateCustomChannel(options.addr, grpc::InsecureChannelCredentials(), arguments));
    stub_->async()->Connect(&context_, this);
    StartRead(&event_);
    AddHold();  // the sender's thread starts writes from outside
    StartCall();
  }

  // Waits until the server has let the client in; whether it did.
  bool Joined() {
    joined_.wait(0);
    return joined_ > 0;
  }

  // Sends one message, and waits until gRPC has taken it; whether it did.
  bool Send(int64_t count) {
    char head[kAuthorDigits + kCountDigits + kTimeDigits + 1];
    std::snprintf(head, sizeof head, "%04zu%010lld%016lld", index_, static_cast<long long>(count),
                  static_cast<long long>(Now()));
    request_.mutable_msg()->assign(head).resize(options_.size, '.');
    writing_ = true;
    StartWrite(&request_);
    writing_.wait(true);
    return !broken;
  }

  void Leave() {
    leaving_ = true;
    context_.TryCancel();
    RemoveHold();
    done_.wait(false);
  }

  void OnReadInitialMetadataDone(bool ok) override {
    joined_ = ok ? 1 : -1;
    joined_.notify_all();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    Receive();
    StartRead(&event_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) broken = true;
    writing_ = false;
    writing_.notify_all();
  }

  void OnDone(const grpc::Status& status) override {
    if (!leaving_) {
      broken = true;
      faults_.Add("client " + std::to_string(index_) + ": " + status.error_message());
    }
    done_ = true;
    done_.notify_all();
  }

  std::vector<std::atomic<int64_t>> received;  // of each sender
  std::vector<uint32_t> latencies;             // microseconds
  std::atomic<bool> broken = false;            // the stream has ended before its time

 private:
  void Receive() {
    const std::string& text = event_.message();
    if (event_.kind() != v1::EVENT_KIND_MESSAGE || text.size() != options_.size) {
      return faults_.Add("client " + std::to_string(index_) + " got an event that nobody sent: " + text);
    }
    const auto number = [&text](int begin, int digits) { return std::stoll(text.substr(begin, digits)); };
    const auto author = static_cast<size_t>(number(0, kAuthorDigits));
    const int64_t count = number(kAuthorDigits, kCountDigits);
    if (author >= options_.senders || author == index_ || count != received[author]) {
      return faults_.Add("client " + std::to_string(index_) + " got message " + text);
    }
    received[author] = count + 1;
    latencies.push_back(static_cast<uint32_t>((Now() - number(kAuthorDigits + kCountDigits, kTimeDigits)) / 1000));
  }

  const Options& options_;
  const size_t index_;
  Faults& faults_;
  std::unique_ptr<v1::Chat::Stub> stub_;
  grpc::ClientContext context_;
  v1::ConnectRequest request_;
  v1::ConnectResponse event_;
  std::atomic<int> joined_ = 0;
  std::atomic<bool> writing_ = false, leaving_ = false, done_ = false;
};

using Clients = std::vector<std::unique_ptr<Client>>;

// How many messages of a sender all the others have.
int64_t Slowest(const Clients& clients, size_t sender) {
  int64_t least = INT64_MAX;
  for (size_t i = 0; i < clients.size(); ++i) {
    if (i != sender) least = std::min<int64_t>(least, clients[i]->received[sender]);
  }
  return least;
}

bool AnyBroken(const Clients& clients) {
  return std::any_of(clients.begin(), clients.end(), [](const auto& client) { return client->broken.load(); });
}

// Sends as fast as the others receive; returns how many messages.
int64_t Send(const Options& options, const Clients& clients, size_t sender, Clock::time_point end) {
  const int64_t window = std::max<int64_t>(options.window / static_cast<int64_t>(options.senders), 1);
  int64_t count = 0;
  for (int64_t least = 0; Clock::now() < end;) {
    if (count - least >= window && count - (least = Slowest(clients, sender)) >= window) {
      if (AnyBroken(clients)) break;
      std::this_thread::sleep_for(200us);
    } else if (!clients[sender]->Send(count++)) {
      break;
    }
  }
  return count;
}

// Waits until all have everything; whether they do.
bool Drain(const Clients& clients, const std::vector<int64_t>& sent) {
  const auto deadline = Clock::now() + kPatience;
  for (size_t sender = 0; sender < sent.size();) {
    if (Slowest(clients, sender) >= sent[sender]) {
      ++sender;
    } else if (Clock::now() > deadline || AnyBroken(clients)) {
      return false;
    } else {
      std::this_thread::sleep_for(200us);
    }
  }
  return true;
}

// CPU seconds of a process and all its threads.
double CpuSeconds(const std::string& process) {
  std::ifstream file("/proc/" + process + "/stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::istringstream fields(text.substr(std::min(text.rfind(')') + 2, text.size())));
  const std::vector<std::string> words(std::istream_iterator<std::string>(fields), {});
  if (words.size() < 13) return 0;
  return (std::stod(words[11]) + std::stod(words[12])) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Milliseconds; the values are put into another order.
double Quantile(std::vector<uint32_t>& micros, double q) {
  if (micros.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(q * static_cast<double>(micros.size()))) - 1;
  std::nth_element(micros.begin(), micros.begin() + static_cast<ptrdiff_t>(rank), micros.end());
  return micros[rank] / 1000.0;
}

void Print(const std::map<std::string, double>& numbers, const std::string& first_fault) {
  google::protobuf::Struct result;
  for (const auto& [name, value] : numbers) (*result.mutable_fields())[name].set_number_value(value);
  if (!first_fault.empty()) (*result.mutable_fields())["first_fault"].set_string_value(first_fault);
  std::string line;
  if (google::protobuf::util::MessageToJsonString(result, &line).ok()) std::cout << line << "\n";
}

int main(int argc, char** argv) {
  const Options options = Parse(argc, argv);
  Faults faults;
  Clients clients;
  for (size_t i = 0; i < options.clients; ++i) clients.push_back(std::make_unique<Client>(options, i, faults));
  for (const auto& client : clients) {
    if (client->Joined()) continue;
    std::cerr << "load: a client could not connect\n";
    std::_Exit(1);
  }
  std::this_thread::sleep_for(200ms);  // connections settle; not part of the measurement

  const double server_before = CpuSeconds(std::to_string(options.pid)), own_before = CpuSeconds("self");
  const auto begin = Clock::now();
  std::vector<int64_t> sent(options.senders);
  std::vector<std::thread> threads;
  const auto end = begin + std::chrono::duration_cast<Clock::duration>(options.duration);
  for (size_t sender = 0; sender < options.senders; ++sender) {
    threads.emplace_back([&, sender] { sent[sender] = Send(options, clients, sender, end); });
  }
  for (auto& thread : threads) thread.join();
  if (!Drain(clients, sent)) faults.Add("not everything arrived");
  const double seconds = Seconds(Clock::now() - begin).count();
  const double server = CpuSeconds(std::to_string(options.pid)) - server_before;
  const double own = CpuSeconds("self") - own_before;

  for (const auto& client : clients) client->Leave();
  std::vector<uint32_t> latencies;
  for (const auto& client : clients) {
    latencies.insert(latencies.end(), client->latencies.begin(), client->latencies.end());
  }
  const auto deliveries = static_cast<double>(latencies.size());
  const auto [count, first_fault] = faults.Get();
  Print({{"clients", static_cast<double>(options.clients)},
         {"senders", static_cast<double>(options.senders)},
         {"size", static_cast<double>(options.size)},
         {"window", static_cast<double>(options.window)},
         {"seconds", seconds},
         {"deliveries", deliveries},
         {"per_second", deliveries / seconds},
         {"server_cpu_s", server},
         {"server_cpu_s_per_million", server / std::max(deliveries, 1.0) * 1e6},
         {"load_cpu_s", own},
         {"server_cpu_share", server / seconds},
         {"load_cpu_share", own / seconds},
         {"p50_ms", Quantile(latencies, 0.5)},
         {"p99_ms", Quantile(latencies, 0.99)},
         {"faults", static_cast<double>(count)}},
        first_fault);
}
