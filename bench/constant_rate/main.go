// Command constantrate asks an HTTP/1.1 server at a constant rate, whether it keeps up or not (open loop),
// or as fast as it answers (rate 0), and prints the latencies as one JSON object.
//
// Each connection has an operating system thread of its own with blocking calls, so that neither a scheduler
// nor a poller stands between the kernel and the clock. Latency counts from the moment at which a request was due,
// so that a server that stalls is charged for every request that had to wait (no coordinated omission).
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const prSetTimerSlack = 29

type outcome struct {
	due      []time.Duration // from the moment a request was due to its last byte
	sent     []time.Duration // from the moment it was sent
	late     []time.Duration // how late it was sent: the generator's own fault where the connection was free
	failures map[string]int
}

type connection struct {
	file   int
	reader *bufio.Reader
}

func (c *connection) Read(p []byte) (int, error) {
	n, err := syscall.Read(c.file, p)
	for err == syscall.EINTR { // the runtime's own signals
		n, err = syscall.Read(c.file, p)
	}
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

func dial(host string, port int) (*connection, error) {
	file, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	address := &syscall.SockaddrInet4{Port: port}
	copy(address.Addr[:], net.ParseIP(host).To4())
	syscall.SetsockoptInt(file, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	limit := syscall.Timeval{Sec: 5}
	syscall.SetsockoptTimeval(file, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit)
	err = syscall.Connect(file, address)
	if err == syscall.EINTR { // it goes on; a new one is simpler
		syscall.Close(file)
		return dial(host, port)
	}
	if err != nil {
		syscall.Close(file)
		return nil, err
	}
	c := &connection{file: file}
	c.reader = bufio.NewReaderSize(c, 16<<10)
	return c, nil
}

// ask sends one request and reads its whole answer; it returns the status.
func (c *connection) ask(request []byte) (int, error) {
	_, err := syscall.Write(c.file, request)
	for err == syscall.EINTR {
		_, err = syscall.Write(c.file, request)
	}
	if err != nil {
		return 0, err
	}
	line, err := c.reader.ReadString('\n')
	if err != nil || len(line) < 12 {
		return 0, fmt.Errorf("no status line: %w", err)
	}
	status, _ := strconv.Atoi(line[9:12])
	length, chunked := 0, false
	for {
		line, err = c.reader.ReadString('\n')
		if err != nil {
			return 0, err
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "" {
			break
		}
		switch strings.ToLower(name) {
		case "content-length":
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		case "transfer-encoding":
			chunked = true
		}
	}
	if !chunked {
		_, err = c.reader.Discard(length)
		return status, err
	}
	for {
		line, err = c.reader.ReadString('\n')
		if err != nil {
			return 0, err
		}
		size, _ := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if _, err = c.reader.Discard(int(size) + 2); err != nil || size == 0 {
			return status, err
		}
	}
}

func sleepUntil(moment time.Time) {
	for {
		rest := time.Until(moment)
		if rest <= 0 {
			return
		}
		left := syscall.NsecToTimespec(int64(rest))
		syscall.Nanosleep(&left, nil)
	}
}

type plan struct {
	host        string
	port        int
	request     []byte
	connections int
	rate        float64
	warm, lasts time.Duration
	begins      time.Time
}

// drive runs one connection: with a rate, request i is due at begins + (i*connections+number)/rate.
func drive(p plan, number int) outcome {
	runtime.LockOSThread()
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0)
	found := outcome{failures: map[string]int{}}
	var c *connection
	counted, ends := p.begins.Add(p.warm), p.begins.Add(p.warm+p.lasts)
	sleepUntil(p.begins)
	free := p.begins
	for i := 0; ; i++ {
		due := time.Now()
		if p.rate > 0 {
			due = p.begins.Add(time.Duration(float64(i*p.connections+number) / p.rate * 1e9))
			sleepUntil(due)
		}
		if !due.Before(ends) {
			break
		}
		var err error
		if c == nil {
			if c, err = dial(p.host, p.port); err != nil {
				found.failures[err.Error()]++
				time.Sleep(10 * time.Millisecond)
				continue
			}
		}
		began := time.Now()
		status, err := c.ask(p.request)
		done := time.Now()
		if err != nil || status != 200 {
			found.failures[fmt.Sprintf("%d %v", status, err)]++
			syscall.Close(c.file)
			c = nil
		} else if !due.Before(counted) {
			found.due = append(found.due, done.Sub(due))
			found.sent = append(found.sent, done.Sub(began))
			if wasFree := !free.After(due); wasFree {
				found.late = append(found.late, began.Sub(due))
			}
		}
		free = done
	}
	return found
}

func spread(all []time.Duration) map[string]float64 {
	if len(all) == 0 {
		return nil
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	at := func(share float64) float64 {
		return float64(all[min(int(share*float64(len(all))), len(all)-1)].Nanoseconds()) / 1e6
	}
	return map[string]float64{"p50": at(.5), "p90": at(.9), "p99": at(.99), "p99.9": at(.999), "max": at(1)}
}

func main() {
	p := plan{}
	flag.StringVar(&p.host, "host", "127.0.0.1", "address")
	flag.IntVar(&p.port, "port", 80, "port")
	path := flag.String("path", "/", "path")
	flag.IntVar(&p.connections, "connections", 16, "connections")
	flag.Float64Var(&p.rate, "rate", 1000, "requests per second, all connections together; 0: as fast as answers come")
	flag.DurationVar(&p.warm, "warm", time.Second, "uncounted time at the beginning")
	flag.DurationVar(&p.lasts, "for", 5*time.Second, "counted time")
	flag.Parse()
	p.request = []byte("GET " + *path + " HTTP/1.1\r\nhost: localhost\r\nuser-agent: constantrate\r\naccept: */*\r\n\r\n")
	p.begins = time.Now().Add(50 * time.Millisecond)
	all := outcome{failures: map[string]int{}}
	var mutex sync.Mutex
	var group sync.WaitGroup
	for number := 0; number < p.connections; number++ {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			found := drive(p, number)
			mutex.Lock()
			defer mutex.Unlock()
			all.due = append(all.due, found.due...)
			all.sent = append(all.sent, found.sent...)
			all.late = append(all.late, found.late...)
			for why, count := range found.failures {
				all.failures[why] += count
			}
		}(number)
	}
	group.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"answers": len(all.due), "failures": all.failures, "per_second": float64(len(all.due)) / p.lasts.Seconds(),
		"due_ms": spread(all.due), "sent_ms": spread(all.sent), "generator_late_ms": spread(all.late),
	})
}
