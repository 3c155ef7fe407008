module k6-operator.test/target

go 1.25.0
