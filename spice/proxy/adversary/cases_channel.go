package adversary

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/spicelane/spicelane/spice/wire"
)

// channelCases request channels that a session must not have.
func channelCases() []Case {
	const unavailable = "channel_not_available"
	asks := func(id wire.ChannelID) func(a *attack) string {
		return func(a *attack) string {
			s := a.withSession()
			return a.try(s.token, s.id, id)
		}
	}
	needs := []need{needConsole, needReads}
	cases := []Case{
		{Name: "channel/a second main", Want: unavailable, Reason: "second_main", needs: needs, run: asks(mainChannel)},
		{Name: "channel/the same display twice", Want: unavailable, Reason: "channel_taken", needs: needs, run: func(a *attack) string {
			s := a.withSession()
			a.channel(s, display)
			return a.try(s.token, s.id, display)
		}},
		{Name: "channel/200 of them", Want: "fewer than 100", Reason: "too_many_channels", needs: needs, run: func(a *attack) string {
			s := a.withSession()
			in := 0
			for n := range 200 {
				kind := []wire.ChannelType{wire.ChannelDisplay, wire.ChannelCursor}[n%2]
				if a.try(s.token, s.id, wire.ChannelID{Type: kind, ID: uint8(n / 2)}) == ok {
					in++
				}
			}
			if in < 100 {
				return "fewer than 100"
			}
			return fmt.Sprint(in)
		}},
	}
	for _, t := range []wire.ChannelType{0, wire.ChannelRecord, wire.ChannelTunnel, wire.ChannelSmartcard, wire.ChannelUSBRedir, wire.ChannelPort, wire.ChannelWebDAV, 12, 255} {
		cases = append(cases, Case{Name: fmt.Sprintf("channel/type %d, which nobody permitted", uint8(t)), Want: unavailable, Reason: "channel_forbidden",
			needs: needs, run: asksRaw(t)})
	}
	return cases
}

// asksRaw requests a channel type that link.Config might take for another one.
func asksRaw(t wire.ChannelType) func(a *attack) string {
	return func(a *attack) string {
		s := a.withSession()
		_, p := a.pendingRaw(s.id, t)
		ctx, cancel := context.WithTimeout(a.ctx, a.t.patience())
		defer cancel()
		return answer(p.Authenticate(ctx, s.token))
	}
}

// messageCases send messages that the protocol does not have, in both directions of each channel,
// after a valid one. None may reach the other side.
func messageCases() []Case {
	type kind struct {
		t                        wire.ChannelType
		fromClient, fromServer   uint16 // good ones, of a few bytes
		wrongClient, wrongServer uint16 // the other direction's; 0 if that has no other ones
	}
	var cases []Case
	for _, k := range []kind{
		{wire.ChannelMain, 3, 4, 115, 0},
		{wire.ChannelDisplay, 3, 4, 304, 0},
		{wire.ChannelInputs, 3, 4, 0, 113}, // what a server says there has numbers that clients use
		{wire.ChannelCursor, 3, 4, 104, 0},
		{wire.ChannelPlayback, 3, 4, 103, 0},
	} {
		for _, from := range []wire.Direction{wire.FromClient, wire.FromServer} {
			good, wrong := k.fromClient, k.wrongClient
			if from == wire.FromServer {
				good, wrong = k.fromServer, k.wrongServer
			}
			for _, bad := range []struct {
				name  string
				bytes []byte
			}{
				{"of an unknown type", message(0x7777, []byte("x"))},
				{"of the wrong direction", message(wrong, []byte("x"))},
				{"of 2 GiB", wire.Header{Type: good, Size: 1 << 31}.AppendMini(nil)},
			} {
				if bad.name == "of the wrong direction" && wrong == 0 {
					continue
				}
				cases = append(cases, Case{Name: fmt.Sprintf("message/%s: one %s from the %s", k.t, bad.name, from), Want: ended, Reason: "firewall",
					needs: []need{needConsole, needReads}, run: func(a *attack) string {
						s := a.withSession()
						client, server := s.main, net.Conn(s.far)
						if k.t != wire.ChannelMain {
							var far *Linked
							client, far = a.channel(s, wire.ChannelID{Type: k.t})
							server = far
						}
						src, dst := client, server
						if from == wire.FromServer {
							src, dst = server, client
						}
						before := message(good, make([]byte, 12))
						a.send(src, append(append([]byte{}, before...), bad.bytes...))
						if got := a.gets(dst, before); got != passed {
							return "the message before it: " + got
						}
						return a.reaches(dst)
					}})
			}
		}
	}
	cases = append(cases, Case{Name: "message/half a header from a client, then its end", Want: ended, needs: []need{needConsole, needReads}, run: func(a *attack) string {
		s := a.withSession()
		a.send(s.main, message(3, make([]byte, 12))[:4])
		_ = s.main.(*tls.Conn).CloseWrite()
		return a.reaches(s.far)
	}})
	return cases
}

// apiCases attack the HTTP API.
func apiCases() []Case {
	ask := func(method, path, authorization string, want int) func(a *attack) string {
		return func(a *attack) string {
			req, err := http.NewRequestWithContext(a.ctx, method, "http://"+a.t.APIAddr+path, nil)
			if err != nil {
				a.fail("%v", err)
			}
			if authorization != "" {
				req.Header.Set("Authorization", authorization)
			}
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: a.t.patience()}
			resp, err := client.Do(req)
			if err != nil {
				return "no answer"
			}
			resp.Body.Close()
			return fmt.Sprint(resp.StatusCode)
		}
	}
	raw := func(text string) func(a *attack) string {
		return func(a *attack) string {
			conn := a.tcp(a.t.APIAddr)
			a.send(conn, []byte(text))
			_ = conn.SetReadDeadline(a.deadline())
			b := make([]byte, 12)
			n, _ := conn.Read(b)
			return strings.TrimPrefix(string(b[:n]), "HTTP/1.1 ")
		}
	}
	needs := []need{needAPI}
	const vv = "/console/proxy/source/6f4e2c1a-0000-0000-0000-000000000001/console.vv"
	return []Case{
		{Name: "api/no token", Want: "401", needs: needs, run: ask("GET", vv, "", 401)},
		{Name: "api/wrong token", Want: "401", needs: needs, run: ask("GET", vv, "Bearer wrong", 401)},
		{Name: "api/basic instead of bearer", Want: "401", needs: needs, run: ask("GET", "/sessions", "Basic d3Jvbmc6d3Jvbmc=", 401)},
		{Name: "api/an empty token", Want: "401", needs: needs, run: ask("GET", "/consoles", "Bearer ", 401)},
		{Name: "api/ending a session without a token", Want: "401", needs: needs, run: ask("DELETE", "/sessions/1", "", 401)},
		{Name: "api/a path that climbs", Want: "401", needs: needs, run: ask("GET", "/metrics/../console/%2e%2e/x", "", 401)},
		{Name: "api/health by POST", Want: "405", needs: needs, run: ask("POST", "/healthz", "", 405)},
		{Name: "api/SPICE on the HTTP port", Want: "400", needs: needs, run: raw(string(request(0, mainChannel)))},
		{Name: "api/a header of 1 MiB", Want: "431", needs: needs, run: raw("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("a", 1<<20) + "\r\n\r\n")},
	}
}
