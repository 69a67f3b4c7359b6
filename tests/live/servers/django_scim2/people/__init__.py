"""Users and groups as a Django project has them that uses django-scim2 as it comes."""
