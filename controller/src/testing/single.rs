//! Single resources over the API, with several controllers.

use fulcrum_proto::v1;
use tonic::Code;

use super::cluster::Cluster;
use super::examples;

fn etag(resource: Option<&v1::Resource>) -> String {
    let metadata = resource.and_then(|resource| resource.metadata.as_ref());
    metadata.expect("it has its name").etag.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_created_read_changed_and_deleted_at_any_controller() {
    let cluster = Cluster::ready(3).await;
    // One of the three leads, the others pass it on.
    for (index, node) in cluster.nodes.iter().enumerate() {
        let name = format!("s{index}");
        let resource = Some(examples::site(&name));
        let request = v1::CreateResourceRequest {
            resource,
            request_id: format!("create {name}"),
            ..Default::default()
        };
        let created = node.intent().create_resource(request.clone()).await;
        let created = created.expect("it is new").into_inner();
        assert_eq!(created.changes.len(), 1);
        let again = node.intent().create_resource(request.clone()).await.expect("it is repeated");
        assert_eq!(again.into_inner().revision, created.revision);
        let other = v1::CreateResourceRequest { request_id: String::new(), ..request };
        let status = node.intent().create_resource(other).await.expect_err("it is there");
        assert_eq!(status.code(), Code::AlreadyExists);

        let kind = v1::Kind::Site.into();
        let get = v1::GetRequest { kind, name: name.clone(), stale: false };
        let got = node.intent().get(get).await.expect("it is there").into_inner().resource;
        assert_eq!(got, created.resource);
        let first = etag(got.as_ref());
        let mut resource = got.expect("it is there");
        resource.spec = Some(v1::resource::Spec::Site(v1::Site { description: "far".to_owned() }));
        let request = v1::UpdateResourceRequest {
            resource: Some(resource),
            validate_only: true,
            ..Default::default()
        };
        let dry = node.intent().update_resource(request.clone()).await.expect("it is good");
        let dry = dry.into_inner();
        assert_eq!((dry.revision, dry.changes.len()), (created.revision, 1));
        let request = v1::UpdateResourceRequest { validate_only: false, ..request };
        let updated = node.intent().update_resource(request.clone()).await.expect("it is good");
        let updated = updated.into_inner();
        assert_eq!(
            updated.resource.as_ref().map(|it| &it.spec),
            dry.resource.as_ref().map(|it| &it.spec)
        );
        let second = etag(updated.resource.as_ref());
        assert!(first != second && !second.is_empty());
        let status = node.intent().update_resource(request).await.expect_err("it has changed");
        assert_eq!(status.code(), Code::Aborted);

        let list = v1::ListRequest { name_prefix: name.clone(), ..Default::default() };
        let list = node.intent().list(list).await.expect("it answers").into_inner();
        assert_eq!(etag(list.resources.first()), second);
        let delete = v1::DeleteResourceRequest { kind, name, etag: first, ..Default::default() };
        let status = node.intent().delete_resource(delete.clone()).await.expect_err("it changed");
        assert_eq!(status.code(), Code::Aborted);
        let delete = v1::DeleteResourceRequest { etag: second, ..delete };
        let deleted = node.intent().delete_resource(delete).await.expect("it holds").into_inner();
        assert!(deleted.revision > updated.revision);
    }
    cluster.stop().await;
}
