// The HTTP server that the tests put under load.
//
//	GET  /              and any other path: 200 and a small body
//	GET  /status/CODE   that status
//	GET  /delay/MS      200 after that many milliseconds
//	GET  /stats         JSON: for each client address, the number of requests
//	                    and the time of the first, in nanoseconds since 1970
//	POST /reset         forgets the clients
//
// It serves HTTP on -http and HTTPS on -https. What it does per request is one
// map look-up and one atomic addition, so that on a small machine the load
// generators get the CPU.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type client struct {
	first    int64
	requests atomic.Int64
}

// The clients by address. A reset swaps the whole map.
var clients atomic.Pointer[sync.Map]

var (
	body       = []byte("[{\"id\":1,\"name\":\"Bert\"}]\n")
	bodyLength = []string{strconv.Itoa(len(body))}
	jsonType   = []string{"application/json"}
)

func count(address string) {
	m := clients.Load()
	c, ok := m.Load(address)
	if !ok {
		c, _ = m.LoadOrStore(address, &client{first: time.Now().UnixNano()})
	}
	c.(*client).requests.Add(1)
}

func stats(w http.ResponseWriter) {
	type entry struct {
		Requests int64 `json:"requests"`
		First    int64 `json:"first"`
	}
	out := struct {
		Requests int64            `json:"requests"`
		Clients  map[string]entry `json:"clients"`
	}{Clients: map[string]entry{}}
	clients.Load().Range(func(k, v any) bool {
		c := v.(*client)
		e := entry{c.requests.Load(), c.first}
		out.Clients[k.(string)] = e
		out.Requests += e.Requests
		return true
	})
	w.Header()["Content-Type"] = jsonType
	if err := json.NewEncoder(w).Encode(out); err != nil {
		log.Print(err)
	}
}

func handle(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case path == "/healthz":
		w.WriteHeader(http.StatusOK)
		return
	case path == "/stats":
		stats(w)
		return
	case path == "/reset":
		if r.Method != http.MethodPost {
			http.Error(w, "POST /reset", http.StatusMethodNotAllowed)
			return
		}
		clients.Store(&sync.Map{})
		w.WriteHeader(http.StatusNoContent)
		return
	}

	address := r.RemoteAddr
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		address = strings.Trim(address[:i], "[]")
	}
	count(address)

	if rest, ok := strings.CutPrefix(path, "/status/"); ok {
		code, err := strconv.Atoi(rest)
		if err != nil || code < 200 || code > 599 {
			http.Error(w, "/status/CODE takes 200 to 599", http.StatusBadRequest)
			return
		}
		w.WriteHeader(code)
		return
	}
	if rest, ok := strings.CutPrefix(path, "/delay/"); ok {
		ms, err := strconv.Atoi(rest)
		if err != nil || ms < 0 || ms > 600_000 {
			http.Error(w, "/delay/MS takes 0 to 600000", http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = bodyLength
	_, _ = w.Write(body)
}

func main() {
	plain := flag.String("http", ":8080", "address for HTTP")
	tls := flag.String("https", ":8443", "address for HTTPS")
	cert := flag.String("cert", "/tls/tls.crt", "certificate for HTTPS; none: no HTTPS")
	key := flag.String("key", "/tls/tls.key", "its key")
	flag.Parse()

	clients.Store(&sync.Map{})
	servers := []*http.Server{{Addr: *plain, Handler: http.HandlerFunc(handle)}}
	if *cert != "" {
		servers = append(servers, &http.Server{Addr: *tls, Handler: http.HandlerFunc(handle)})
	}
	for i, s := range servers {
		l, err := net.Listen("tcp", s.Addr)
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			var err error
			if i == 0 {
				err = s.Serve(l)
			} else {
				err = s.ServeTLS(l, *cert, *key)
			}
			if err != http.ErrServerClosed {
				log.Fatal(err)
			}
		}()
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	<-ctx.Done()
	for _, s := range servers {
		_ = s.Close()
	}
}
