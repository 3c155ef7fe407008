// Enforces the NetworkPolicies of the embedded cluster, whose network plugin does
// not, until SIGTERM:
//
//	firewall KUBECONFIG NODE
//
// It decides about the packets that iptables puts into queue 100. The command of
// sigs.k8s.io/kube-network-policies does the same, and works in a pod only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const queue = 100

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "firewall:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: firewall KUBECONFIG NODE")
	}
	access, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	all := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		all.Networking().V1().NetworkPolicies(),
		all.Core().V1().Namespaces(),
		all.Core().V1().Pods(),
		nil, nil, nil, nil,
		// NRI stays on although nothing answers: v0.8.0 does not work without it.
		networkpolicy.Config{QueueID: queue, NodeName: args[1]},
	)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	all.Start(ctx.Done())
	return controller.Run(ctx)
}
