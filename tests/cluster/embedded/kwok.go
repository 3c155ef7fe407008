package main

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	nodestages "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podstages "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/config"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/utils/client"
)

// nodes simulates the kubelets of the nodes with the annotation
// kwok.x-k8s.io/node=fake, and of no others, until SIGTERM: they stay Ready, and
// so is a pod from when it is placed there until it is deleted. None ever ends by
// itself. Nothing is served: kwok's own command, which also serves logs, wants a
// newer Kubernetes than the one that is linked here.
func nodes(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: embedded kwok KUBECONFIG")
	}
	stages := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	for _, text := range []string{
		nodestages.DefaultNodeInit, podstages.DefaultPodReady, podstages.DefaultPodDelete,
	} {
		stage, err := config.UnmarshalWithType[*internalversion.Stage](text)
		if err != nil {
			return err
		}
		stages[stage.Spec.ResourceRef] = append(stages[stage.Spec.ResourceRef], stage)
	}
	set, err := client.NewClientset("", args[0])
	if err != nil {
		return err
	}
	access, err := set.ToRESTConfig()
	if err != nil {
		return err
	}
	typed, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	dynamic, err := set.ToDynamicClient()
	if err != nil {
		return err
	}
	mapper, err := set.ToRESTMapper()
	if err != nil {
		return err
	}
	raw, err := rest.RESTClientFor(access)
	if err != nil {
		return err
	}
	id, err := controllers.Identity()
	if err != nil {
		return err
	}
	controller, err := controllers.NewController(controllers.Config{
		Clock:                             clock.RealClock{},
		TypedClient:                       typed,
		DynamicClient:                     dynamic,
		RESTClient:                        raw,
		RESTMapper:                        mapper,
		ImpersonatingDynamicClient:        set.ToImpersonatingDynamicClient(),
		ImpersonatingTypedClient:          set.ToImpersonatingTypedClient(),
		ManageNodesWithAnnotationSelector: "kwok.x-k8s.io/node=fake",
		CIDR:                              "10.89.0.0/16",
		LocalStages:                       stages,
		NodePlayStageParallelism:          4,
		PodPlayStageParallelism:           4,
		PodsOnNodeSyncParallelism:         4,
		NodeLeaseParallelism:              4,
		NodeLeaseDurationSeconds:          40,
		ID:                                id,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := controller.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
