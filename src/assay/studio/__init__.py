"""A local web application: from photos to a served classifier in the browser.

The pages call the commands of Assay in processes of their own; a project is a folder with photos, `labels.csv`,
`project.json`, `runs` and `models`.
"""
