// Command client-go talks to a cluster as Go programs do: in protobuf, with typed clients, informers and discovery. It ends with
// an error at the first thing that is not as it should be, and prints what it has seen otherwise.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const protobuf = "application/vnd.kubernetes.protobuf"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	if err != nil {
		return err
	}
	rest, err := clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return err
	}
	rest.ContentType, rest.AcceptContentTypes = protobuf, protobuf
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	steps := []struct {
		name string
		run  func(context.Context, kubernetes.Interface) error
	}{{"objects", objects}, {"deployments", deployments}, {"informers", watches}}
	for _, step := range steps {
		if err := step.run(ctx, client); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println(step.name)
	}
	metas, err := metadata.NewForConfig(rest)
	if err != nil {
		return err
	}
	namespaces, err := metas.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if err := check(len(namespaces.Items) >= 4, "metadata: %d namespaces", len(namespaces.Items)); err != nil {
		return err
	}
	fmt.Println("metadata")
	if err := describe(client.Discovery()); err != nil {
		return err
	}
	if err := documents(ctx, client.Discovery()); err != nil {
		return fmt.Errorf("documents: %w", err)
	}
	fmt.Println("documents")
	return nil
}

func objects(ctx context.Context, client kubernetes.Interface) error {
	maps := client.CoreV1().ConfigMaps("default")
	made, err := maps.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "settings", Labels: map[string]string{"a": "b"}},
		Data:       map[string]string{"k": "v"},
		BinaryData: map[string][]byte{"b": {0, 255}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	got, err := maps.Get(ctx, "settings", metav1.GetOptions{})
	if err != nil {
		return err
	}
	same := got.UID == made.UID && got.Data["k"] == "v" && got.BinaryData["b"][1] == 255
	if err := check(same, "what was read is not what was written: %v", got); err != nil {
		return err
	}
	got.Data["k"] = "w"
	if _, err := maps.Update(ctx, got, metav1.UpdateOptions{}); err != nil {
		return err
	}
	_, err = maps.Update(ctx, got, metav1.UpdateOptions{})
	if err := check(apierrors.IsConflict(err), "a conflict was expected: %v", err); err != nil {
		return err
	}
	patched, err := maps.Patch(ctx, "settings", types.StrategicMergePatchType, []byte(`{"data":{"x":"y"}}`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if err := check(patched.Data["x"] == "y" && patched.Data["k"] == "w", "the patch: %v", patched.Data); err != nil {
		return err
	}
	list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "a=b"})
	if err != nil {
		return err
	}
	if err := check(len(list.Items) == 1 && list.ResourceVersion != "", "the list: %v", list); err != nil {
		return err
	}
	if err := maps.Delete(ctx, "settings", metav1.DeleteOptions{}); err != nil {
		return err
	}
	_, err = maps.Get(ctx, "settings", metav1.GetOptions{})
	return check(apierrors.IsNotFound(err), "it should be gone: %v", err)
}

func deployments(ctx context.Context, client kubernetes.Interface) error {
	labels := map[string]string{"app": "web"}
	half := intstr.FromString("50%")
	replicas := int32(0)
	wanted := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &half}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "web", Image: "web",
					Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("250m")}},
				}}},
			},
		},
	}
	if _, err := client.AppsV1().Deployments("default").Create(ctx, wanted, metav1.CreateOptions{}); err != nil {
		return err
	}
	got, err := client.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	cpu := got.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().String()
	surge := got.Spec.Strategy.RollingUpdate.MaxSurge.String()
	if err := check(cpu == "250m" && surge == "50%" && *got.Spec.Replicas == 0, "%s %s", cpu, surge); err != nil {
		return err
	}
	scale, err := client.AppsV1().Deployments("default").GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := check(scale.Status.Selector == "app=web", "the scale: %v", scale); err != nil {
		return err
	}
	return client.AppsV1().Deployments("default").Delete(ctx, "web", metav1.DeleteOptions{})
}

func watches(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().Secrets().Informer()
	seen := make(chan string, 16)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { seen <- "added " + object.(*corev1.Secret).Name },
		UpdateFunc: func(_, object any) { seen <- "changed " + object.(*corev1.Secret).Name },
		DeleteFunc: func(object any) { seen <- "deleted " + object.(*corev1.Secret).Name },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if err := check(cache.WaitForCacheSync(ctx.Done(), informer.HasSynced), "it does not sync"); err != nil {
		return err
	}
	secrets := client.CoreV1().Secrets("default")
	secret, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "key"}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	secret.Data = map[string][]byte{"k": []byte("v")}
	if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := secrets.Delete(ctx, "key", metav1.DeleteOptions{}); err != nil {
		return err
	}
	for _, expected := range []string{"added key", "changed key", "deleted key"} {
		select {
		case event := <-seen:
			if err := check(event == expected, "%s instead of %s", event, expected); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("no %s", expected)
		}
	}
	return nil
}

func describe(client discovery.DiscoveryInterface) error {
	groups, resources, err := client.ServerGroupsAndResources()
	if err != nil {
		return err
	}
	if err := check(len(groups) > 10 && len(resources) > 10, "%d groups", len(groups)); err != nil {
		return err
	}
	document, err := client.OpenAPISchema()
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, definition := range document.GetDefinitions().GetAdditionalProperties() {
		names[definition.GetName()] = true
	}
	if err := check(names["io.k8s.api.core.v1.Pod"], "%d definitions and no Pod", len(names)); err != nil {
		return err
	}
	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		return err
	}
	if err := check(paths["apis/apps/v1"] != nil && paths["api"] != nil, "%d paths", len(paths)); err != nil {
		return err
	}
	fmt.Println("discovery")
	return nil
}
