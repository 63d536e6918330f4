// The test server of the framework: a cluster of a region of Minato.
package framework

import (
	"context"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/controlplane"
)

type TestServerSetup struct {
	ModifyServerRunOptions func(*options.ServerRunOptions)
	ModifyServerConfig     func(*controlplane.Config)
}

type TearDownFunc func()

func StartTestServer(ctx context.Context, t testing.TB, setup TestServerSetup) (kubernetes.Interface, *rest.Config, TearDownFunc) {
	if setup.ModifyServerRunOptions != nil || setup.ModifyServerConfig != nil {
		t.Log("the cluster's options and configuration stay as they are")
	}
	name, config, err := freshCluster()
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(config), config, func() { deleteCluster(name) }
}
