module redqueen.example/constantrate

go 1.21
