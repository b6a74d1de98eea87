package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/term"
)

const exitInterrupted = 130 // 128 + SIGINT, as shells have it

// interruptible returns a context that ends at the first interrupt, and the two functions that do what a first and a
// second interrupt do. The second leaves at once: whatever runs is built to be killed, and the next start says so.
func interruptible(stderr *os.File) (ctx context.Context, stop, abort func()) {
	ctx, stop = context.WithCancel(context.Background())
	before, _ := term.GetState(int(os.Stdin.Fd())) // nil where there is no terminal
	var once sync.Once
	abort = func() {
		once.Do(func() {
			if before != nil { // a live view may have the terminal in raw mode and the cursor hidden
				_ = term.Restore(int(os.Stdin.Fd()), before)
				fmt.Fprint(stderr, "\x1b[?25h\r\n")
			}
			fmt.Fprintln(stderr, "freshet: interrupted again: left at once")
			os.Exit(exitInterrupted)
		})
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		stop()
		<-signals
		abort()
	}()
	return ctx, stop, abort
}
