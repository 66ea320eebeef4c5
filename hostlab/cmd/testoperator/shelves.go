package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	// finalizer is on every Shelf.
	finalizer = "test.example.com/shelf"
	// mostBooks is how many books a Shelf may have.
	mostBooks = 5
)

// newShelf returns an empty Shelf.
func newShelf() *unstructured.Unstructured {
	shelf := &unstructured.Unstructured{}
	shelf.SetGroupVersionKind(schema.GroupVersionKind{Group: "test.example.com", Version: "v1", Kind: "Shelf"})
	return shelf
}

// booksOf returns how many books a Shelf is to have. ok is false if it does not specify it.
func booksOf(shelf *unstructured.Unstructured) (books int64, ok bool) {
	books, ok, err := unstructured.NestedInt64(shelf.Object, "spec", "books")
	return books, ok && err == nil
}

// reconciler keeps the ConfigMaps of Shelves.
type reconciler struct{ client client.Client }

// addController adds the controller of Shelves to the manager.
func addController(m manager.Manager) error {
	return builder.ControllerManagedBy(m).For(newShelf()).Owns(&corev1.ConfigMap{}).Complete(&reconciler{m.GetClient()})
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	shelf := newShelf()
	if err := r.client.Get(ctx, request.NamespacedName, shelf); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if shelf.GetDeletionTimestamp() != nil {
		return ctrl.Result{}, r.completeDeletion(ctx, shelf)
	}
	if controllerutil.AddFinalizer(shelf, finalizer) {
		return ctrl.Result{}, r.client.Update(ctx, shelf)
	}
	books, _ := booksOf(shelf)
	for i := range books {
		book := newBook(shelf, fmt.Sprintf("%s-%d", shelf.GetName(), i))
		if err := controllerutil.SetControllerReference(shelf, book, r.client.Scheme()); err != nil {
			return ctrl.Result{}, err
		}
		if err := r.create(ctx, book); err != nil {
			return ctrl.Result{}, err
		}
	}
	if seen, _, _ := unstructured.NestedInt64(shelf.Object, "status", "books"); seen == books {
		return ctrl.Result{}, nil
	}
	if err := unstructured.SetNestedField(shelf.Object, books, "status", "books"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.client.Status().Update(ctx, shelf)
}

// completeDeletion records the end of a Shelf, and lets it go.
func (r *reconciler) completeDeletion(ctx context.Context, shelf *unstructured.Unstructured) error {
	if !controllerutil.ContainsFinalizer(shelf, finalizer) {
		return nil
	}
	if err := r.create(ctx, newBook(shelf, "removed-"+shelf.GetName())); err != nil {
		return err
	}
	controllerutil.RemoveFinalizer(shelf, finalizer)
	return r.client.Update(ctx, shelf)
}

// newBook returns a ConfigMap in the namespace of a Shelf.
func newBook(shelf *unstructured.Unstructured, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: shelf.GetNamespace(), Name: name}}
}

// create creates a ConfigMap that is not there yet.
func (r *reconciler) create(ctx context.Context, book *corev1.ConfigMap) error {
	if err := r.client.Create(ctx, book); !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// defaulter gives a Shelf without number one book.
type defaulter struct{}

// Handle implements admission.Handler.
func (defaulter) Handle(_ context.Context, request admission.Request) admission.Response {
	shelf := newShelf()
	if err := shelf.UnmarshalJSON(request.Object.Raw); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if _, ok := booksOf(shelf); !ok {
		if err := unstructured.SetNestedField(shelf.Object, int64(1), "spec", "books"); err != nil {
			return admission.Errored(http.StatusBadRequest, err)
		}
	}
	after, err := shelf.MarshalJSON()
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, after)
}

// validator refuses a Shelf with too many books.
type validator struct{}

// Handle implements admission.Handler.
func (validator) Handle(_ context.Context, request admission.Request) admission.Response {
	shelf := newShelf()
	if err := shelf.UnmarshalJSON(request.Object.Raw); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if books, ok := booksOf(shelf); !ok || books > mostBooks {
		return admission.Errored(http.StatusUnprocessableEntity, errors.New("a shelf has no room for that many books"))
	}
	return admission.Allowed("")
}
