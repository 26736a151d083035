// Command derpclient is an ordinary DERP client made of Tailscale's own code.
//
// It connects to one DERP server and checks what real clients rely on: login, packets of every
// size in both directions, pings, both kinds of PeerGone, two connections with one key, fast
// start, the HTTP side endpoints and STUN.  It prints one JSON line per check,
//
//	{"check":"packets","ok":true,"detail":"1, 1200, 32768 and 65536 bytes both ways"}
//
// and exits 0 only if every check passed, 1 if one failed, 2 for wrong usage, 3 when the overall
// deadline passed.  It knows nothing of derphole: the same run must pass against a derper, which
// is how the program itself is validated.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"tailscale.com/net/netns"
)

const (
	exitFailed   = 1
	exitUsage    = 2
	exitDeadline = 3

	checkTimeout    = 10 * time.Second
	defaultDeadline = 90 * time.Second
	deadlineGrace   = 5 * time.Second // for the checks to report before the process is ended
)

type result struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func main() {
	flags := flag.NewFlagSet("derpclient", flag.ContinueOnError)
	pin := flags.String("pin", "", "SHA-256 of the server's certificate in hex, as in a DERP map's sha256-raw:HEX; needed for https")
	stunAddr := flags.String("stun", "", "host:port of the server's STUN service; empty skips that check")
	checkMap := flags.Bool("check-map", false, "also fetch /derpmap and check that it describes this server")
	deadline := flags.Duration("timeout", defaultDeadline, "overall deadline")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: derpclient [flags] http://host:port | https://host:port")
		flags.PrintDefaults()
	}
	if err := flags.Parse(os.Args[1:]); err != nil {
		os.Exit(exitUsage)
	}
	if flags.NArg() != 1 {
		flags.Usage()
		os.Exit(exitUsage)
	}
	server, err := parseTarget(flags.Arg(0), *pin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "derpclient:", err)
		os.Exit(exitUsage)
	}

	// Marks sockets so that they bypass a VPN; of no use on loopback and refused without root.
	netns.SetEnabled(false)
	ctx, cancel := context.WithTimeout(context.Background(), *deadline)
	defer cancel()
	time.AfterFunc(*deadline+deadlineGrace, func() {
		fmt.Fprintln(os.Stderr, "derpclient: still running after the overall deadline of", *deadline)
		os.Exit(exitDeadline)
	})
	if !runChecks(ctx, newSession(server, *stunAddr, *checkMap)) {
		if ctx.Err() != nil {
			os.Exit(exitDeadline)
		}
		os.Exit(exitFailed)
	}
}

// runChecks runs every check in order, prints one line for each and reports whether all passed.
// A failed check does not stop the next one: the list of what fails is the diagnosis.
func runChecks(ctx context.Context, s *session) bool {
	defer s.close()
	lines := json.NewEncoder(os.Stdout)
	allPassed := true
	for _, check := range s.checks() {
		checkCtx, cancel := context.WithTimeout(ctx, checkTimeout)
		detail, err := check.run(checkCtx)
		cancel()
		line := result{Check: check.name, OK: err == nil, Detail: detail}
		if err != nil {
			allPassed = false
			line.Detail = err.Error()
		}
		if err := lines.Encode(line); err != nil {
			fmt.Fprintln(os.Stderr, "derpclient: cannot write results:", err)
			return false
		}
	}
	return allPassed
}
