//! Who may do what with tests, and what a test and the operator may do, as `kubectl auth can-i` tells it.

use crate::support::{LIMIT, OPERATOR, Test};
use std::fmt::Write as _;

/// Who, what they want to do, and whether they may in the namespace of the test.
const ROWS: &str = "
view        get k6s                             yes
view        list testruns                       yes
view        watch k6s                           yes
view        create k6s                          no
view        patch testruns                      no
view        delete k6s                          no
view        get secrets                         no
view        update k6s --subresource=status     no
edit        get k6s                             yes
edit        create k6s                          yes
edit        create testruns                     yes
edit        patch k6s                           yes
edit        update testruns                     yes
edit        delete k6s                          yes
edit        deletecollection testruns           yes
edit        update k6s --subresource=status     no
edit        patch testruns --subresource=status no
edit        update k6s --subresource=finalizers no
edit        create pods                         yes
edit        get k6s -n k6-operator-system       no
admin       create testruns                     yes
admin       deletecollection k6s                yes
admin       update k6s --subresource=status     no
admin       create clusterroles                 no
admin       delete crd                          no
viewer      get testruns                        yes
viewer      list k6s                            yes
viewer      watch testruns                      yes
viewer      create testruns                     no
viewer      delete testruns                     no
viewer      get configmaps                      no
viewer      get pods                            no
editor      get k6s                             yes
editor      create k6s                          yes
editor      patch testruns                      yes
editor      deletecollection k6s                yes
editor      update testruns --subresource=status no
editor      create pods                         no
editor      get secrets                         no
editor      create jobs                         no
editor      list k6s -n kube-system             no
nobody      get k6s                             no
nobody      create testruns                     no
runner      get k6s                             no
runner      list pods                           no
runner      get secrets                         no
runner      get configmaps                      no
runner      create k6s                          no
operator    list k6s                            yes
operator    watch testruns                      yes
operator    update k6s --subresource=status     yes
operator    delete testruns                     yes
operator    create k6s                          no
operator    update k6s                          no
operator    patch testruns                      no
operator    create jobs                         yes
operator    patch jobs                          no
operator    create secrets                      yes
operator    get secrets                         no
operator    list secrets                        no
operator    delete secrets                      no
operator    get configmaps                      yes
operator    list configmaps                     no
operator    update configmaps                   no
operator    get pods --subresource=log          yes
operator    create pods                         no
operator    create pods --subresource=exec      no
operator    create services                     yes
operator    delete services                     no
operator    create rolebindings                 no
operator    get nodes                           no
operator    list nodes                          yes
operator    impersonate users                   no
operator    update leases                       no
operator    update leases/k6-operator -n k6-operator-system yes
";

/// Whom a word of the table stands for, and the ClusterRole that they have in the namespace.
const PEOPLE: [(&str, &str); 5] = [
    ("view", "view"),
    ("edit", "edit"),
    ("admin", "admin"),
    ("viewer", "k6-operator-viewer-role"),
    ("editor", "k6-operator-editor-role"),
];

fn user(test: &Test, who: &str) -> String {
    match who {
        "operator" => OPERATOR.to_owned(),
        // As which runners run whose spec names no other.
        "runner" => format!("system:serviceaccount:{}:default", test.namespace),
        person => format!("e2e-{person}"),
    }
}

fn answer(test: &Test, row: &str) -> String {
    let words: Vec<&str> = row.split_whitespace().collect();
    let user = user(test, words[0]);
    let asked = [&["auth", "can-i", "--as", &user], &words[1..words.len() - 1]].concat();
    let said = test.said(&asked);
    let answers = said.lines().filter_map(|line| line.split_whitespace().next());
    let answers: Vec<&str> = answers.filter(|word| ["yes", "no"].contains(word)).collect();
    assert_eq!(answers.len(), 1, "{row}: {said}");
    answers[0].to_owned()
}

#[tokio::test]
async fn everyone_may_do_what_the_table_says_and_nothing_else() {
    let test = Test::new("rights").await;
    for (person, role) in PEOPLE {
        let (role, user) = (
            format!("--clusterrole={role}"),
            format!("--user={}", user(&test, person)),
        );
        test.kubectl(&["create", "rolebinding", person, &role, &user]);
    }
    // Kubernetes adds the rules to its own ClusterRoles a moment after they are there.
    for row in ["view list k6s yes", "edit create k6s yes", "admin create k6s yes"] {
        test.until(row, LIMIT, async || (answer(&test, row) == "yes").then_some(()))
            .await;
    }
    let rows: Vec<&str> = ROWS.trim().lines().collect();
    assert!(rows.len() >= 40);
    let mut wrong = String::new();
    for row in rows {
        let told = answer(&test, row);
        if !row.ends_with(&format!(" {told}")) {
            writeln!(wrong, "{row}, but it is {told}").unwrap();
        }
    }
    assert_eq!(wrong, "");
}
