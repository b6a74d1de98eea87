// Command freshet keeps a recommender as fresh as its click stream. "freshet up" runs the whole of it in one process; the
// other verbs are its parts, for several processes, and its tools.
//
// This package is wiring: main.go reads the command line and the configuration, flags.go lists the verbs and their flags,
// and each verb that does something has a file of its name. The rooms beside it: config (settings), datadir (the
// directory that a process owns), embed (Kafka and NATS inside the process), view (what a person sees).
//
// Exit codes: 0 only on success; 1 for an error, which is printed to standard error as one message that names the cause
// and the next step; 130 after a second interrupt. Results go to standard output, logs and progress to standard error.
package main
